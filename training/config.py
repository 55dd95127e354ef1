"""The sizes of the demo model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """The sizes of the model; the defaults are the demo model's."""

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

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image // self.patch
