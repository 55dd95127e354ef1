"""The sizes of the demo models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """The sizes of a model; the defaults are those of the first demo model, of Qwen3-VL's architecture.

    `qk_norm` is whether queries and keys of the text model are normalised; `image_mean` and `image_std` are
    of red, green and blue between 0 and 1.
    """

    image: int = 96
    patch: int = 8
    merge: int = 2
    vision_hidden: int = 128
    vision_depth: int = 4
    vision_heads: int = 4
    vision_intermediate: int = 384
    deepstack: tuple[int, ...] = (1, 2)
    vocab: int = 768
    hidden: int = 192
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 32
    intermediate: int = 512
    rope_theta: float = 1000.0
    mrope_section: tuple[int, int, int] = (6, 5, 5)
    eps: float = 1e-6
    qk_norm: bool = True
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image // self.patch
