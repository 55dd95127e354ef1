"""The vision tower of Qwen3-VL as a graph, for one picture of a fixed size.

Formulas: transformers 5.23, qwen3_vl/modeling_qwen3_vl.py and vision_utils.py. Input and outputs: the
vendor's compiled vision encoder, which takes raw pixels and normalises them itself.
"""

from dataclasses import dataclass

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.graph import CONTRIB, GraphBuilder

NORM_EPS = 1e-6  # not in the configuration but written down in the reference implementation


@dataclass(frozen=True, slots=True)
class VisionSpec:
    """The tower and its picture.

    num_position_rows: side of the square table of learned positions
    deepstack:         blocks whose output is merged as well
    image_size:        rows and columns of pixels
    mean, std:         of red, green and blue in 0…1
    """

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    patch_size: int
    temporal_patch_size: int
    merge_size: int
    num_position_rows: int
    output_size: int
    deepstack: tuple[int, ...]
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rope_theta: float

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def num_patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def num_tokens(self) -> int:
        return self.num_patches // self.merge_size**2

    @property
    def patch_pixels(self) -> int:
        """Pixels of a patch, in all its frames."""
        return self.temporal_patch_size * self.patch_size**2


def build_vision(spec: VisionSpec, checkpoint: Checkpoint) -> GraphBuilder:
    """Patches of one picture -> embeds and deepstack features.

    Input:
        hidden_states (1, patches, frames * patch rows * patch columns, 3) uint8, RGB; patches in merge-block
        order: block row, block column, row in block, column in block
    Outputs:
        hidden_states_out and deepstack_feature_0… (tokens, output_size) float32
    """
    return _Tower(spec, checkpoint).build()


def patch_coordinates(grid: tuple[int, int], merge_size: int) -> Array:
    """(2, patches) row and column of each patch, in merge-block order."""
    blocks = (grid[0] // merge_size, merge_size, grid[1] // merge_size, merge_size)
    return np.indices(grid).reshape(2, *blocks).transpose(0, 1, 3, 2, 4).reshape(2, -1)


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


class _Tower:
    def __init__(self, spec: VisionSpec, checkpoint: Checkpoint) -> None:
        self._spec = spec
        self._checkpoint = checkpoint
        self._graph = GraphBuilder("vision")

    def build(self) -> GraphBuilder:
        graph, spec = self._graph, self._spec
        merged_size = spec.hidden_size * spec.merge_size**2
        pixels = graph.load("hidden_states", "uint8", [1, spec.num_patches, spec.patch_pixels, 3])
        hidden = self._embed(pixels)
        cos, sin = self._rotation()
        names: list[str] = []
        for index in range(spec.depth):
            hidden = self._block(hidden, f"blocks.{index}.", cos, sin)
            if index in spec.deepstack:
                level = spec.deepstack.index(index)
                tensors = f"deepstack_merger_list.{level}."
                joined = graph.reshape(hidden, [-1, merged_size], f"{tensors}joined")
                normed = self._norm(joined, f"{tensors}norm", merged_size)
                names.append(self._merge(normed, tensors, f"deepstack_feature_{len(names)}"))
        normed = self._norm(hidden, "merger.norm", spec.hidden_size)
        joined = graph.reshape(normed, [-1, merged_size], "merger.joined")
        for name in (self._merge(joined, "merger.", "hidden_states_out"), *names):
            graph.output(name, "float32", [spec.num_tokens, spec.output_size])
        return graph

    def _embed(self, pixels: str) -> str:
        """Normalised pixels through the patch matrix, plus learned positions: (1, patches, hidden)."""
        graph, spec = self._graph, self._spec
        white = graph.constant("white", np.array(255, np.float32))
        mean = graph.constant("mean", np.array(spec.mean, np.float32))
        std = graph.constant("std", np.array(spec.std, np.float32))
        scaled = graph.node("Div", pixels, white, name="pixels.scaled")
        centred = graph.node("Sub", scaled, mean, name="pixels.centred")
        normal = graph.node("Div", centred, std, name="pixels.normal")
        flat = graph.reshape(normal, [1, spec.num_patches, spec.patch_pixels * 3], "patches")
        frames, side = spec.temporal_patch_size, spec.patch_size
        kernel = self._tensor("patch_embed.proj.weight", spec.hidden_size, 3, frames, side, side)
        # The kernel has its channel first, the input last.
        matrix = kernel.transpose(0, 2, 3, 4, 1).reshape(spec.hidden_size, -1)
        embeds = self._affine(flat, matrix, "patch_embed.proj", "patch_embed")
        return graph.node("Add", embeds, graph.constant("positions", self._positions()), name="embeds")

    def _positions(self) -> Array:
        """(patches, hidden) float32: the learned table, resampled to the grid."""
        spec = self._spec
        side = spec.num_position_rows
        table = self._tensor("pos_embed.weight", side * side, spec.hidden_size).reshape(side, side, -1)
        rows, columns = patch_coordinates(spec.grid, spec.merge_size)
        positions: Array = resample_positions(table, spec.grid)[rows, columns]
        return positions

    def _rotation(self) -> tuple[str, str]:
        """Cosine and sine (patches, head_dim / 2); half the frequencies follow the row, half the column."""
        spec = self._spec
        half = spec.hidden_size // spec.num_heads // 2
        frequencies = (spec.rope_theta ** (-np.arange(0, half, 2) / half)).astype(np.float32)
        coordinates = patch_coordinates(spec.grid, spec.merge_size).astype(np.float32)
        angles = np.concatenate([axis[:, np.newaxis] * frequencies for axis in coordinates], axis=1)
        return self._graph.constant("cos", np.cos(angles)), self._graph.constant("sin", np.sin(angles))

    def _block(self, hidden: str, tensors: str, cos: str, sin: str) -> str:
        graph, spec = self._graph, self._spec
        size = spec.hidden_size
        normed = self._norm(hidden, f"{tensors}norm1", size)
        joined = self._linear(normed, f"{tensors}attn.qkv", size, 3 * size)
        parts = [f"{tensors}{part}" for part in ("queries", "keys", "values")]
        queries, keys, values = graph.nodes("Split", joined, names=parts, axis=-1, num_outputs=3)
        attended = graph.node(
            "MultiHeadAttention",
            graph.rope(queries, cos, sin, f"{queries}.rotated"),
            graph.rope(keys, cos, sin, f"{keys}.rotated"),
            values,
            name=f"{tensors}attended",
            domain=CONTRIB,
            num_heads=spec.num_heads,
        )
        projected = self._linear(attended, f"{tensors}attn.proj", size, size)
        hidden = graph.node("Add", hidden, projected, name=f"{tensors}residual")
        normed = self._norm(hidden, f"{tensors}norm2", size)
        wide = self._linear(normed, f"{tensors}mlp.linear_fc1", size, spec.intermediate_size)
        active = graph.node("Gelu", wide, name=f"{tensors}gelu", approximate="tanh")
        narrow = self._linear(active, f"{tensors}mlp.linear_fc2", spec.intermediate_size, size)
        return graph.node("Add", hidden, narrow, name=f"{tensors}output")

    def _merge(self, joined: str, tensors: str, name: str) -> str:
        """Two-layer MLP of a merge block, ending in the value `name`."""
        graph, spec = self._graph, self._spec
        merged_size = spec.hidden_size * spec.merge_size**2
        wide = self._linear(joined, f"{tensors}linear_fc1", merged_size, merged_size)
        active = graph.node("Gelu", wide, name=f"{tensors}gelu")
        matrix = self._tensor(f"{tensors}linear_fc2.weight", spec.output_size, merged_size)
        return self._affine(active, matrix, f"{tensors}linear_fc2", name)

    def _norm(self, value: str, name: str, size: int) -> str:
        gain = self._graph.weight(f"{name}.weight", self._tensor(f"{name}.weight", size))
        shift = self._graph.weight(f"{name}.bias", self._tensor(f"{name}.bias", size))
        return self._graph.node(
            "LayerNormalization", value, gain, shift, name=name, axis=-1, epsilon=NORM_EPS
        )

    def _linear(self, value: str, name: str, num_inputs: int, num_outputs: int) -> str:
        matrix = self._tensor(f"{name}.weight", num_outputs, num_inputs)
        return self._affine(value, matrix, name, name)

    def _affine(self, value: str, matrix: Array, tensors: str, name: str) -> str:
        """value times `matrix` (out, in), plus the bias of `tensors`."""
        graph = self._graph
        weight = graph.weight(f"{tensors}.weight", matrix.T)
        bias = graph.weight(f"{tensors}.bias", self._tensor(f"{tensors}.bias", len(matrix)))
        product = graph.node("MatMul", value, weight, name=f"{tensors}.product")
        return graph.node("Add", product, bias, name=name)

    def _tensor(self, name: str, *shape: int) -> Array:
        return self._checkpoint.tensor(f"model.visual.{name}", shape)
