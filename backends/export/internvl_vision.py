"""InternViT and its projector as a graph, for one square tile.

Formulas: transformers 5.23, internvl/modeling_internvl.py; those of the original repositories are the same.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Colour
from backends.export.graph import GraphBuilder
from backends.export.options import VisionInput
from backends.export.tower import Tower

# Not in the configuration but written down in the reference implementation.
PROJECTOR_NORM_EPS = 1e-5
QK_NORM_EPS = 1e-6

CUBIC = -0.75
"""The one parameter of bicubic interpolation, as PyTorch has it."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """How the blocks of one tower differ from those of others.

    qkv_bias: whether queries, keys and values are projected with a bias
    qk_norm:  whether queries and keys are RMS-normed, over all heads together
    rms_norm: in place of layer norm
    """

    qkv_bias: bool
    qk_norm: bool
    rms_norm: bool


class Names:
    """What a checkpoint that transformers saved calls the tensors of the vision side; ours are the same."""

    def tensor(self, checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> Array:
        return checkpoint.tensor(name, shape)


class OriginalNames(Names):
    """The same tensors in the original repositories, where one matrix makes queries, keys and values."""

    PARTS: ClassVar = {
        "vision_tower.": "vision_model.",
        "encoder.layer.": "encoder.layers.",
        "cls_token": "class_embedding",
        "position_embeddings": "position_embedding",
        "patch_embeddings.projection": "patch_embedding",
        "attention.projection_layer": "attn.proj",
        "attention.": "attn.",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "lambda_": "ls",
        "multi_modal_projector.layer_norm": "mlp1.0",
        "multi_modal_projector.linear_1": "mlp1.1",
        "multi_modal_projector.linear_2": "mlp1.3",
    }
    JOINED: ClassVar = ("q_proj", "k_proj", "v_proj")

    def tensor(self, checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> Array:
        for ours, theirs in self.PARTS.items():
            name = name.replace(ours, theirs)
        for place, part in enumerate(self.JOINED):
            if f".{part}." in name:
                joined = checkpoint.tensor(name.replace(part, "qkv"), (3 * shape[0], *shape[1:]))
                return np.split(joined, 3)[place]
        return checkpoint.tensor(name, shape)


@dataclass(frozen=True, slots=True)
class TowerSpec:
    """The tower and its tile.

    merge_size:        patches along each edge that make one token
    num_position_rows: side of the square table of learned positions
    output_size:       hidden size of the language model
    image_size:        edge of the tile in pixels
    """

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    blocks: Blocks
    norm_epsilon: float
    patch_size: int
    merge_size: int
    num_position_rows: int
    output_size: int
    image_size: int
    mean: Colour
    std: Colour
    names: Names

    @property
    def num_rows(self) -> int:
        """Rows of patches, and columns."""
        return self.image_size // self.patch_size


def build_vision(spec: TowerSpec, checkpoint: Checkpoint, vision_input: VisionInput) -> GraphBuilder:
    """One tile -> embeds.

    Input: pixel_values, (1, edge, edge, 3) uint8 or (1, 3, edge, edge) float32, RGB
    Output: features (1, tokens, output_size) float32, tokens row by row
    """
    return _InternViT(spec, checkpoint, vision_input).build()


def resample_bicubic(table: Array, num_rows: int) -> Array:
    """(side, side, size) -> (num_rows, num_rows, size) float32, as torch.nn.functional.interpolate does it
    without aligned corners; what lies outside is the nearest inside."""
    for axis in (0, 1):
        side = table.shape[axis]
        source = (np.arange(num_rows) + 0.5) * side / num_rows - 0.5
        first = np.floor(source).astype(np.int64)
        weights = np.zeros((num_rows, side))
        for tap in range(-1, 3):
            distance = np.abs(source - (first + tap))
            rows = np.clip(first + tap, 0, side - 1)
            np.add.at(weights, (np.arange(num_rows), rows), _cubic(distance))
        table = np.moveaxis(np.tensordot(weights, table, (1, axis)), 0, axis)
    return table.astype(np.float32)


def _cubic(distance: Array) -> Array:
    """The weight of a point at a distance of 0 to 2."""
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance <= 1, near, far)


class _InternViT(Tower):
    def __init__(self, spec: TowerSpec, checkpoint: Checkpoint, vision_input: VisionInput) -> None:
        super().__init__(checkpoint, "", spec.norm_epsilon)
        self._spec = spec
        self._vision_input = vision_input

    def tensor(self, name: str, *shape: int) -> Array:
        return self._spec.names.tensor(self._checkpoint, name, shape)

    def build(self) -> GraphBuilder:
        spec = self._spec
        hidden = self._embed()
        for index in range(spec.depth):
            hidden = self._block(hidden, f"vision_tower.encoder.layer.{index}.")
        self._project(hidden)
        num_tokens = (spec.num_rows // spec.merge_size) ** 2
        self.graph.output("features", "float32", [1, num_tokens, spec.output_size])
        return self.graph

    def _embed(self) -> str:
        """(1, 1 + patches, hidden): the class token, then the patches, each with its learned position."""
        graph, spec, tensors = self.graph, self._spec, "vision_tower.embeddings."
        size = (spec.image_size, spec.image_size)
        picture = self.picture(size, spec.mean, spec.std, self._vision_input)
        patches = self.cut(
            picture, f"{tensors}patch_embeddings.projection", spec.patch_size, spec.hidden_size
        )
        class_token = graph.weight("class", self.tensor(f"{tensors}cls_token", 1, 1, spec.hidden_size))
        joined = graph.node("Concat", class_token, patches, name="joined", axis=1)
        return graph.node("Add", joined, graph.weight("positions", self._positions()), name="embeds")

    def _positions(self) -> Array:
        """(1, 1 + patches, hidden): the learned table, resampled if it is for another size."""
        spec, side = self._spec, self._spec.num_position_rows
        name = "vision_tower.embeddings.position_embeddings"
        table = self.tensor(name, 1, 1 + side * side, spec.hidden_size)
        if side == spec.num_rows:
            return table
        square = table[0, 1:].astype(np.float32).reshape(side, side, -1)
        patches = resample_bicubic(square, spec.num_rows).reshape(1, -1, spec.hidden_size)
        return np.concatenate([table[:, :1].astype(np.float32), patches], axis=1)

    def _block(self, hidden: str, tensors: str) -> str:
        spec = self._spec
        normed = self._normed(hidden, f"{tensors}layernorm_before")
        hidden = self._add(hidden, self._attention(normed, f"{tensors}attention."), f"{tensors}lambda_1")
        normed = self._normed(hidden, f"{tensors}layernorm_after")
        wide = self.linear(normed, f"{tensors}mlp.fc1", spec.hidden_size, spec.intermediate_size)
        active = self.graph.node("Gelu", wide, name=f"{tensors}gelu")
        narrow = self.linear(active, f"{tensors}mlp.fc2", spec.intermediate_size, spec.hidden_size)
        return self._add(hidden, narrow, f"{tensors}lambda_2")

    def _attention(self, normed: str, tensors: str) -> str:
        size, kind = self._spec.hidden_size, self._spec.blocks
        queries, keys, values = (
            self.linear(normed, f"{tensors}{part}_proj", size, size, bias=kind.qkv_bias) for part in "qkv"
        )
        if kind.qk_norm:
            queries = self._rms_norm(queries, f"{tensors}q_norm", QK_NORM_EPS)
            keys = self._rms_norm(keys, f"{tensors}k_norm", QK_NORM_EPS)
        attended = self.attend(queries, keys, values, self._spec.num_heads, f"{tensors}attended")
        return self.linear(attended, f"{tensors}projection_layer", size, size)

    def _add(self, hidden: str, change: str, scale: str) -> str:
        """hidden plus the change, scaled channel by channel."""
        gain = self.graph.weight(scale, self.tensor(scale, self._spec.hidden_size))
        scaled = self.graph.node("Mul", change, gain, name=f"{scale}.scaled")
        return self.graph.node("Add", hidden, scaled, name=f"{scale}.residual")

    def _normed(self, hidden: str, name: str) -> str:
        if self._spec.blocks.rms_norm:
            return self._rms_norm(hidden, name, self._spec.norm_epsilon)
        return self.norm(hidden, name, self._spec.hidden_size)

    def _rms_norm(self, value: str, name: str, epsilon: float) -> str:
        gain = self.tensor(f"{name}.weight", self._spec.hidden_size)
        return self.graph.rms_norm(value, gain, epsilon, name)

    def _project(self, hidden: str) -> str:
        """The patches, neighbours joined to tokens, through the projector: (1, tokens, output_size)."""
        graph, spec, tensors = self.graph, self._spec, "multi_modal_projector."
        merge, rows = spec.merge_size, spec.num_rows // spec.merge_size
        merged_size = spec.hidden_size * merge**2
        start, end, axis = (
            graph.constant(f"patches.{name}", np.array([value]))
            for name, value in (("start", 1), ("end", 1 + spec.num_rows**2), ("axis", 1))
        )
        patches = graph.node("Slice", hidden, start, end, axis, name="patches")
        blocks = graph.reshape(patches, [rows, merge, rows, merge, spec.hidden_size], "blocks")
        turned = graph.node("Transpose", blocks, name="blocks.turned", perm=[0, 2, 1, 3, 4])
        joined = graph.reshape(turned, [1, rows * rows, merged_size], "tokens")
        normed = self.norm(joined, f"{tensors}layer_norm", merged_size, PROJECTOR_NORM_EPS)
        wide = self.linear(normed, f"{tensors}linear_1", merged_size, spec.output_size)
        active = graph.node("Gelu", wide, name=f"{tensors}gelu")
        matrix = self.tensor(f"{tensors}linear_2.weight", spec.output_size, spec.output_size)
        return self.affine(active, matrix, f"{tensors}linear_2", "features")
