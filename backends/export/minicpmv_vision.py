"""The vision tower and the resampler of MiniCPM-V 2.6 as a graph, for square views of a fixed size.

Formulas: transformers 5.23, siglip/modeling_siglip.py; openbmb/MiniCPM-V-2_6, modeling_navit_siglip.py
(learned positions) and resampler.py.
"""

from dataclasses import dataclass

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.encoder_block import BlockTower, BlockTowerSpec
from backends.export.graph import GraphBuilder
from backends.export.options import VisionInput

TOWER, RESAMPLER = "vpm.", "resampler."
RESAMPLER_EPS = 1e-6  # not in the configuration but written down in the reference implementation
HEAD_SIZE = 128  # as well


@dataclass(frozen=True, slots=True)
class MiniCPMVVisionSpec(BlockTowerSpec):
    """`image_size` is that of a view.

    num_position_rows: side of the square table of learned positions
    num_queries:       tokens of a view
    """

    num_position_rows: int
    num_queries: int


def build_vision(spec: MiniCPMVVisionSpec, checkpoint: Checkpoint, vision_input: VisionInput) -> GraphBuilder:
    """One view -> embeds.

    Input, one of:
        pixel_values (1, image_size, image_size, 3) uint8 or (1, 3, image_size, image_size) float32, RGB
        pixel_values (1, 3, patch rows, patches * patch columns) float32, the patches side by side
    Output:
        output (1, num_queries, output_size) float32
    """
    return _MiniCPMVTower(spec, checkpoint).build(vision_input)


def place_positions(places: int, table_rows: int) -> Array:
    """For each of so many rows of patches, the row of the table that it begins in."""
    return np.arange(places) * table_rows // places


def sine_positions(side: int, size: int) -> Array:
    """(side * side, size) float32, row by row: the first half follows the column, the second the row, and of
    each half the first half is sines, the second cosines."""
    frequencies = 1 / 10000 ** (np.arange(size // 4, dtype=np.float32) / (size / 4))
    rows, columns = np.indices((side, side), np.float32).reshape(2, -1, 1)
    angles = [axis * frequencies for axis in (columns, rows)]
    parts = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.concatenate(parts, axis=1).astype(np.float32)


class _MiniCPMVTower(BlockTower):
    def __init__(self, spec: MiniCPMVVisionSpec, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint, "", spec.norm_epsilon)
        self._spec = spec

    def build(self, vision_input: VisionInput) -> GraphBuilder:
        graph, spec = self.graph, self._spec
        patches = self.cut(
            self._view(vision_input),
            f"{TOWER}embeddings.patch_embedding",
            spec.patch_size,
            spec.block.hidden_size,
        )
        hidden = graph.node("Add", patches, graph.constant("positions", self._positions()), name="embeds")
        for index in range(spec.depth):
            hidden = self.block(hidden, f"{TOWER}encoder.layers.{index}.", spec.block)
        self._resample(self.norm(hidden, f"{TOWER}post_layernorm", spec.block.hidden_size))
        graph.output("output", "float32", [1, spec.num_queries, spec.output_size])
        return graph

    def _view(self, vision_input: VisionInput) -> str:
        spec = self._spec
        if vision_input == "f32-patches":
            shape = [1, 3, spec.patch_size, spec.side**2 * spec.patch_size]
            return self.graph.input("pixel_values", "float32", shape)
        return self.picture((spec.image_size, spec.image_size), spec.mean, spec.std, vision_input)

    def _positions(self) -> Array:
        """(patches, hidden) float32."""
        rows, size = self._spec.num_position_rows, self._spec.block.hidden_size
        table = self.tensor(f"{TOWER}embeddings.position_embedding.weight", rows * rows, size)
        place = place_positions(self._spec.side, rows)
        square: Array = table.astype(np.float32).reshape(rows, rows, size)[place[:, np.newaxis], place]
        return square.reshape(-1, size)

    def _resample(self, hidden: str) -> None:
        """Learned queries attend to the patches: the value "output"."""
        graph, size, epsilon = self.graph, self._spec.output_size, RESAMPLER_EPS
        wide = self.linear(hidden, f"{RESAMPLER}kv_proj", self._spec.block.hidden_size, size, bias=False)
        values = self.norm(wide, f"{RESAMPLER}ln_kv", size, epsilon)
        places = graph.constant("places", sine_positions(self._spec.side, size))
        keys = graph.node("Add", values, places, name=f"{RESAMPLER}keys")
        table = self.tensor(f"{RESAMPLER}query", self._spec.num_queries, size)[np.newaxis]
        queries = self.norm(graph.weight(f"{RESAMPLER}query", table), f"{RESAMPLER}ln_q", size, epsilon)
        matrices = self.tensor(f"{RESAMPLER}attn.in_proj_weight", 3 * size, size)
        biases = self.tensor(f"{RESAMPLER}attn.in_proj_bias", 3 * size)

        def project(value: str, part: int) -> str:
            rows, name = slice(part * size, (part + 1) * size), f"{RESAMPLER}attn.{part}"
            weight = graph.weight(f"{name}.weight", matrices[rows].T)
            product = graph.node("MatMul", value, weight, name=f"{name}.product")
            return graph.node("Add", product, graph.weight(f"{name}.bias", biases[rows]), name=name)

        queries, keys, values = project(queries, 0), project(keys, 1), project(values, 2)
        attended = self.attend(queries, keys, values, size // HEAD_SIZE, f"{RESAMPLER}attended")
        joined = self.linear(attended, f"{RESAMPLER}attn.out_proj", size, size)
        normed = self.norm(joined, f"{RESAMPLER}ln_post", size, epsilon)
        matrix = graph.weight(f"{RESAMPLER}proj", self.tensor(f"{RESAMPLER}proj", size, size))
        graph.node("MatMul", normed, matrix, name="output")
