"""The vision tower of Qwen3-VL as a graph: learned positions, and features of several blocks.

Formulas: transformers 5.23, qwen3_vl/modeling_qwen3_vl.py and vision_utils.py. Outputs: the vendor's compiled
vision encoder.
"""

from dataclasses import dataclass

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.graph import GraphBuilder
from backends.export.qwen_vl import TowerSpec
from backends.export.qwen_vl_tower import QwenVLTower


@dataclass(frozen=True, slots=True)
class VisionSpec:
    """num_position_rows: side of the square table of learned positions
    deepstack:         blocks whose output is merged as well
    """

    tower: TowerSpec
    num_position_rows: int
    deepstack: tuple[int, ...]


def build_vision(spec: VisionSpec, checkpoint: Checkpoint) -> GraphBuilder:
    """Patches of one picture -> embeds, and deepstack_feature_0… (tokens, output_size) float32."""
    return _Qwen3VLTower(spec, checkpoint).build()


def resample_positions(table: Array, grid: tuple[int, int]) -> Array:
    """Bilinear with aligned corners: (side, side, size) -> (rows, columns, size) float32."""
    for axis, length in enumerate(grid):
        last = table.shape[axis] - 1
        source = np.arange(length) * last / max(length - 1, 1)
        below = np.floor(source).astype(np.int64)
        above = np.minimum(below + 1, last)
        share = np.expand_dims(source - below, [other for other in range(3) if other != axis])
        table = np.take(table, below, axis) * (1 - share) + np.take(table, above, axis) * share
    return table.astype(np.float32)


class _Qwen3VLTower(QwenVLTower):
    def __init__(self, spec: VisionSpec, checkpoint: Checkpoint) -> None:
        super().__init__(spec.tower, checkpoint, "model.visual.")
        self._vision = spec

    def build(self) -> GraphBuilder:
        graph, spec, deepstack = self.graph, self.spec, self._vision.deepstack
        positions = graph.constant("positions", self._positions())
        hidden = graph.node("Add", self.patches(bias=True), positions, name="embeds")
        cos, sin = self.rotation(spec.picture.coordinates)
        names: list[str] = []
        for index in range(spec.depth):
            hidden = self.block(hidden, index, cos, sin)
            if index in deepstack:
                tensors = f"deepstack_merger_list.{deepstack.index(index)}."
                joined = graph.reshape(hidden, [-1, spec.merged_size], f"{tensors}joined")
                normed = self.norm(joined, f"{tensors}norm", spec.merged_size)
                names.append(self._merge(normed, tensors, f"deepstack_feature_{len(names)}"))
        normed = self.norm(hidden, "merger.norm", spec.hidden_size)
        joined = graph.reshape(normed, [-1, spec.merged_size], "merger.joined")
        for name in (self._merge(joined, "merger.", "hidden_states_out"), *names):
            graph.output(name, "float32", [spec.picture.num_tokens, spec.output_size])
        return graph

    def _positions(self) -> Array:
        """(patches, hidden) float32: the learned table, resampled to the grid."""
        picture, side = self.spec.picture, self._vision.num_position_rows
        table = self.tensor("pos_embed.weight", side * side, self.spec.hidden_size)
        rows, columns = picture.coordinates
        positions: Array = resample_positions(table.reshape(side, side, -1), picture.grid)[rows, columns]
        return positions

    def mlp(self, value: str, tensors: str) -> str:
        size, inner = self.spec.hidden_size, self.spec.intermediate_size
        wide = self.linear(value, f"{tensors}mlp.linear_fc1", size, inner)
        active = self.graph.node("Gelu", wide, name=f"{tensors}gelu", approximate="tanh")
        return self.linear(active, f"{tensors}mlp.linear_fc2", inner, size)

    def _merge(self, joined: str, tensors: str, name: str) -> str:
        return self.merge(joined, f"{tensors}linear_fc1", f"{tensors}linear_fc2", name)
