"""The vision towers of Qwen2-VL and Qwen2.5-VL as graphs.

Formulas: transformers 5.23, qwen2_vl/modeling_qwen2_vl.py, qwen2_5_vl/modeling_qwen2_5_vl.py and
vision_utils.py.
"""

from dataclasses import dataclass

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.graph import CONTRIB, GraphBuilder
from backends.export.qwen_vl import TowerSpec
from backends.export.qwen_vl_tower import NORM_EPS, QwenVLTower


@dataclass(frozen=True, slots=True)
class Windows:
    """Attention within squares of `edge` by `edge` tokens, in all blocks but `full_blocks`."""

    edge: int
    full_blocks: tuple[int, ...]


def build_qwen2_vl(spec: TowerSpec, checkpoint: Checkpoint, tensors: str) -> GraphBuilder:
    """Patches of one picture -> embeds, from the tensors whose names begin with `tensors`."""
    return _Qwen2VLTower(spec, checkpoint, tensors).build()


def build_qwen2_5_vl(spec: TowerSpec, windows: Windows, checkpoint: Checkpoint, tensors: str) -> GraphBuilder:
    """Patches of one picture -> embeds, from the tensors whose names begin with `tensors`."""
    return _Qwen25VLTower(spec, windows, checkpoint, tensors).build()


def window_order(grid: tuple[int, int], edge: int) -> tuple[Array, list[tuple[int, int]]]:
    """The tokens of a grid, window by window, and as (number of windows, tokens in each) how these follow
    each other; the squares at the lower and right margin are cut off where the grid ends.

    Windows of as many tokens follow each other, because they can be attended to in one go; the reference has
    them row by row, which makes no difference to what a token sees.
    """
    rows, columns = np.indices(grid)
    window = (rows // edge * grid[1] + columns // edge).ravel()
    size = np.bincount(window)[window]
    order = np.lexsort((window, -size))
    sizes, counts = np.unique(size, return_counts=True)
    runs = [(int(count // size), int(size)) for size, count in zip(sizes, counts, strict=True)]
    return order, runs[::-1]


class _Qwen2VLTower(QwenVLTower):
    """Layer norms, QuickGELU, every patch sees every other."""

    def build(self) -> GraphBuilder:
        picture = self.spec.picture
        self.see(self.patches(bias=False), picture.coordinates, "hidden_states_out")
        self.graph.output("hidden_states_out", "float32", [picture.num_tokens, self.spec.output_size])
        return self.graph

    def see(self, hidden: str, coordinates: Array, name: str) -> str:
        """All blocks and the merger, as the value `name`; `coordinates` are those of the patches as they
        come, those of a token in a row."""
        cos, sin = self.rotation(coordinates)
        for index in range(self.spec.depth):
            hidden = self.block(hidden, index, cos, sin)
        normed = self.norm(hidden, "merger.ln_q", self.spec.hidden_size)
        joined = self.graph.reshape(normed, [-1, self.spec.merged_size], "merger.joined")
        return self.merge(joined, "merger.mlp.0", "merger.mlp.2", name)

    def mlp(self, value: str, tensors: str) -> str:
        size, inner = self.spec.hidden_size, self.spec.intermediate_size
        wide = self.linear(value, f"{tensors}mlp.fc1", size, inner)
        active = self.graph.node("QuickGelu", wide, name=f"{tensors}gelu", domain=CONTRIB, alpha=1.702)
        return self.linear(active, f"{tensors}mlp.fc2", inner, size)


class _Qwen25VLTower(_Qwen2VLTower):
    """RMS norms, gated SiLU, and windows, into which tokens are sorted before the first block."""

    def __init__(self, spec: TowerSpec, windows: Windows, checkpoint: Checkpoint, tensors: str) -> None:
        super().__init__(spec, checkpoint, tensors)
        rows, columns = spec.picture.grid
        merge = spec.picture.merge_size
        self._full_blocks = windows.full_blocks
        self._order, self._windows = window_order((rows // merge, columns // merge), windows.edge)
        self._patches_of_token = merge**2

    def build(self) -> GraphBuilder:
        graph, picture = self.graph, self.spec.picture
        patches = np.arange(picture.num_patches).reshape(-1, self._patches_of_token)[self._order].ravel()
        order = graph.constant("windows.order", patches)
        hidden = graph.node("Gather", self.patches(bias=False), order, name="windows", axis=1)
        merged = self.see(hidden, picture.coordinates[:, patches], "merged")
        back = graph.constant("windows.back", np.argsort(self._order))
        graph.node("Gather", merged, back, name="hidden_states_out", axis=0)
        graph.output("hidden_states_out", "float32", [picture.num_tokens, self.spec.output_size])
        return graph

    def norm(self, value: str, name: str, size: int, epsilon: float | None = None) -> str:
        gain = self.tensor(f"{name}.weight", size)
        return self.graph.rms_norm(value, gain, NORM_EPS if epsilon is None else epsilon, name)

    def mlp(self, value: str, tensors: str) -> str:
        graph, size, inner = self.graph, self.spec.hidden_size, self.spec.intermediate_size
        gate = self.linear(value, f"{tensors}mlp.gate_proj", size, inner)
        up = self.linear(value, f"{tensors}mlp.up_proj", size, inner)
        silu = graph.node("QuickGelu", gate, name=f"{tensors}silu", domain=CONTRIB, alpha=1.0)
        gated = graph.node("Mul", silu, up, name=f"{tensors}gated")
        return self.linear(gated, f"{tensors}mlp.down_proj", inner, size)

    def look(self, queries: str, keys: str, values: str, index: int) -> str:
        if index in self._full_blocks:
            return super().look(queries, keys, values, index)
        graph, name = self.graph, f"blocks.{index}.windows"
        lengths = [number * tokens * self._patches_of_token for number, tokens in self._windows]
        split = graph.constant(f"{name}.lengths", np.array(lengths))
        parts = [
            graph.nodes("Split", rows, split, names=[f"{rows}.{k}" for k in range(len(lengths))], axis=1)
            for rows in (queries, keys, values)
        ]
        seen = []
        for part, (number, tokens) in enumerate(self._windows):
            shape = [number, tokens * self._patches_of_token, self.spec.hidden_size]
            batch = [graph.reshape(rows[part], shape, f"{rows[part]}.windows") for rows in parts]
            attended = self.attend(batch[0], batch[1], batch[2], self.spec.num_heads, f"{name}.{part}")
            seen.append(graph.reshape(attended, [1, lengths[part], shape[2]], f"{name}.{part}.rows"))
        return graph.node("Concat", *seen, name=name, axis=1)
