"""The block of the vision towers that go back to CLIP and SigLIP.

Formulas: transformers 5.23, clip/modeling_clip.py, siglip/modeling_siglip.py, janus/modeling_janus.py.
"""

from dataclasses import dataclass
from typing import Literal

from backends.export.graph import CONTRIB
from backends.export.tower import Tower


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """attention_bias: whether queries, keys and values are projected with a bias
    projection:     what the checkpoint calls the matrix behind the attention
    """

    hidden_size: int
    intermediate_size: int
    num_heads: int
    activation: Literal["gelu", "tanh", "quick"]
    attention_bias: bool = True
    projection: str = "out_proj"


@dataclass(frozen=True, slots=True)
class BlockTowerSpec:
    """A tower of such blocks for square pictures.

    depth:      blocks, without those behind the features that are taken
    image_size: edge of the picture in pixels
    mean, std:  of red, green and blue in 0…1
    """

    depth: int
    block: BlockSpec
    patch_size: int
    norm_epsilon: float
    output_size: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def side(self) -> int:
        """Patches along an edge."""
        return self.image_size // self.patch_size


class BlockTower(Tower):
    def block(self, hidden: str, tensors: str, spec: BlockSpec) -> str:
        """(1, n, hidden) -> the same, by the tensors whose names begin with `tensors`."""
        graph, size = self.graph, spec.hidden_size
        normed = self.norm(hidden, f"{tensors}layer_norm1", size)
        queries, keys, values = (
            self.linear(normed, f"{tensors}self_attn.{part}_proj", size, size, bias=spec.attention_bias)
            for part in "qkv"
        )
        attended = self.attend(queries, keys, values, spec.num_heads, f"{tensors}attended")
        projected = self.linear(attended, f"{tensors}self_attn.{spec.projection}", size, size)
        hidden = graph.node("Add", hidden, projected, name=f"{tensors}residual")
        normed = self.norm(hidden, f"{tensors}layer_norm2", size)
        wide = self.linear(normed, f"{tensors}mlp.fc1", size, spec.intermediate_size)
        active = self._active(wide, f"{tensors}gelu", spec)
        narrow = self.linear(active, f"{tensors}mlp.fc2", spec.intermediate_size, size)
        return graph.node("Add", hidden, narrow, name=f"{tensors}output")

    def _active(self, value: str, name: str, spec: BlockSpec) -> str:
        if spec.activation == "quick":
            return self.graph.node("QuickGelu", value, name=name, domain=CONTRIB, alpha=1.702)
        approximate = "tanh" if spec.activation == "tanh" else "none"
        return self.graph.node("Gelu", value, name=name, approximate=approximate)
