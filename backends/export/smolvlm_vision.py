"""The vision tower of SmolVLM as a graph, for tiles of a fixed size.

Formulas: transformers 5.23, smolvlm/modeling_smolvlm.py. Inputs: the vendor's compiled vision encoders, which
take raw pixels and normalise them themselves, or the patch embeddings of several tiles.
"""

from dataclasses import dataclass

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.encoder_block import BlockSpec, BlockTower
from backends.export.graph import GraphBuilder
from backends.export.options import VisionInput
from backends.export.tower import Tower
from backends.patch_embedding import PatchEmbedding

TENSORS = "model.vision_model."
CONNECTOR = "model.connector.modality_projection.proj"


@dataclass(frozen=True, slots=True)
class SmolVLMVisionSpec:
    """The tower and its tile.

    num_position_rows: side of the square table of learned positions
    image_size:        edge of the tile in pixels
    mean, std:         of red, green and blue in 0…1
    """

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    patch_size: int
    merge_size: int
    num_position_rows: int
    image_size: int
    output_size: int
    norm_epsilon: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def side(self) -> int:
        """Patches along an edge; pixels that make no whole patch are not seen."""
        return self.image_size // self.patch_size

    @property
    def num_tokens(self) -> int:
        return (self.side // self.merge_size) ** 2


def build_vision(spec: SmolVLMVisionSpec, checkpoint: Checkpoint, vision_input: VisionInput) -> GraphBuilder:
    """One tile -> embeds.

    Input:
        pixel_values (1, image_size, image_size, 3) uint8 or (1, 3, image_size, image_size) float32, RGB
    Output:
        output (1, tokens, output_size) float32
    """
    tower = _SmolVLMTower(spec, checkpoint)
    picture = tower.picture((spec.image_size, spec.image_size), spec.mean, spec.std, vision_input)
    patches = tower.cut(picture, "embeddings.patch_embedding", spec.patch_size, spec.hidden_size)
    positions = tower.graph.constant("positions", _positions(tower, spec))
    return tower.build(tower.graph.node("Add", patches, positions, name="embeds"), num_tiles=1)


def build_behind_patches(spec: SmolVLMVisionSpec, checkpoint: Checkpoint, num_tiles: int) -> GraphBuilder:
    """Patch embeddings with their positions -> embeds, several tiles at once.

    Input:
        input (tiles, patches, hidden_size) float32
    Output:
        output (tiles, tokens, output_size) float32
    """
    tower = _SmolVLMTower(spec, checkpoint)
    embeds = tower.graph.input("input", "float32", [num_tiles, spec.side**2, spec.hidden_size])
    return tower.build(embeds, num_tiles)


def read_patches(spec: SmolVLMVisionSpec, checkpoint: Checkpoint) -> PatchEmbedding:
    """What makes the input of such a graph."""
    tower = _SmolVLMTower(spec, checkpoint)
    shape = spec.hidden_size, 3, spec.patch_size, spec.patch_size
    kernel = tower.tensor("embeddings.patch_embedding.weight", *shape).astype(np.float32)
    bias = tower.tensor("embeddings.patch_embedding.bias", spec.hidden_size).astype(np.float32)
    weight = np.ascontiguousarray(kernel.reshape(spec.hidden_size, -1).T)
    return PatchEmbedding(weight, _positions(tower, spec) + bias)


def _positions(tower: Tower, spec: SmolVLMVisionSpec) -> Array:
    """(patches, hidden) float32: for each patch the row and column of the table that it begins in.

    In exact arithmetic. The reference does it in float32 and is off by one for some sizes, none of them
    published (there, 32, 27 and 26 patches along an edge have tables of the same size).
    """
    rows = spec.num_position_rows
    table = tower.tensor("embeddings.position_embedding.weight", rows * rows, spec.hidden_size)
    place = np.arange(spec.side) * rows // spec.side
    positions: Array = table.reshape(rows, rows, -1)[place[:, np.newaxis], place].astype(np.float32)
    return positions.reshape(-1, spec.hidden_size)


class _SmolVLMTower(BlockTower):
    def __init__(self, spec: SmolVLMVisionSpec, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint, TENSORS, spec.norm_epsilon)
        self._spec = spec

    def build(self, embeds: str, num_tiles: int) -> GraphBuilder:
        """From (tiles, patches, hidden) on."""
        graph, spec = self.graph, self._spec
        block = BlockSpec(spec.hidden_size, spec.intermediate_size, spec.num_heads, "tanh")
        hidden = embeds
        for index in range(spec.depth):
            hidden = self.block(hidden, f"encoder.layers.{index}.", block)
        normed = self.norm(hidden, "post_layernorm", spec.hidden_size)
        self._connect(normed, num_tiles, "output")
        graph.output("output", "float32", [num_tiles, spec.num_tokens, spec.output_size])
        return graph

    def _connect(self, hidden: str, num_tiles: int, name: str) -> None:
        """The patches of a token side by side, row by row, through one matrix, as the value `name`."""
        graph, spec = self.graph, self._spec
        merge, grid = spec.merge_size, spec.side // spec.merge_size
        joined_size = spec.hidden_size * merge**2
        blocks = graph.reshape(hidden, [num_tiles, grid, merge, grid, merge * spec.hidden_size], "blocks")
        turned = graph.node("Transpose", blocks, name="blocks.turned", perm=[0, 1, 3, 2, 4])
        joined = graph.reshape(turned, [num_tiles, spec.num_tokens, joined_size], "joined")
        matrix = self._checkpoint.tensor(f"{CONNECTOR}.weight", (spec.output_size, joined_size))
        graph.node("MatMul", joined, graph.weight(f"{CONNECTOR}.weight", matrix.T), name=name)
