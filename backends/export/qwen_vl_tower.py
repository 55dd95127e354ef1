"""What the vision towers of the Qwen-VL families have in common: patches, rope in two dimensions, blocks and
the merger.

Formulas: transformers 5.23, qwen2_vl/modeling_qwen2_vl.py and vision_utils.py. Input: the vendor's compiled
vision encoders, which take raw pixels and normalise them themselves.
"""

from abc import ABC, abstractmethod

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.graph import GraphBuilder
from backends.export.qwen_vl import TowerSpec
from backends.export.tower import Tower

NORM_EPS = 1e-6  # not in the configurations but written down in the reference implementation


class QwenVLTower(Tower, ABC):
    """A tower of `spec` under construction, from the tensors whose names begin with `tensors`."""

    def __init__(self, spec: TowerSpec, checkpoint: Checkpoint, tensors: str) -> None:
        super().__init__(checkpoint, tensors, NORM_EPS)
        self.spec = spec

    @abstractmethod
    def build(self) -> GraphBuilder:
        """The whole graph.

        Input:
            hidden_states (1, patches, frames * patch rows * patch columns, 3) uint8, RGB; patches in
            merge-block order: block row, block column, row in block, column in block
        Output:
            hidden_states_out (tokens, output_size) float32, and what the family adds
        """

    @abstractmethod
    def mlp(self, value: str, tensors: str) -> str:
        """The feed-forward part of the block whose tensors begin with `tensors`."""

    def patches(self, *, bias: bool) -> str:
        """The input, normalised and through the patch matrix: (1, patches, hidden)."""
        graph, spec, picture = self.graph, self.spec, self.spec.picture
        shape = [1, picture.num_patches, picture.patch_pixels, 3]
        normal = self.normal(graph.load("hidden_states", "uint8", shape), picture.mean, picture.std)
        flat = graph.reshape(normal, [1, picture.num_patches, picture.patch_pixels * 3], "patches")
        frames, side = picture.temporal_patch_size, picture.patch_size
        kernel = self.tensor("patch_embed.proj.weight", spec.hidden_size, 3, frames, side, side)
        # The kernel has its channel first, the input last.
        matrix = kernel.transpose(0, 2, 3, 4, 1).reshape(spec.hidden_size, -1)
        if bias:
            return self.affine(flat, matrix, "patch_embed.proj", "patch_embed")
        return graph.node(
            "MatMul", flat, graph.weight("patch_embed.proj.weight", matrix.T), name="patch_embed"
        )

    def rotation(self, coordinates: Array) -> tuple[str, str]:
        """Cosine and sine (patches, head_dim / 2) at (2, patches) rows and columns; half the frequencies
        follow the row, half the column."""
        spec = self.spec
        half = spec.hidden_size // spec.num_heads // 2
        frequencies = (spec.rope_theta ** (-np.arange(0, half, 2) / half)).astype(np.float32)
        angles = [axis[:, np.newaxis] * frequencies for axis in coordinates.astype(np.float32)]
        joined = np.concatenate(angles, axis=1)
        return self.graph.constant("cos", np.cos(joined)), self.graph.constant("sin", np.sin(joined))

    def block(self, hidden: str, index: int, cos: str, sin: str) -> str:
        graph, size, tensors = self.graph, self.spec.hidden_size, f"blocks.{index}."
        normed = self.norm(hidden, f"{tensors}norm1", size)
        joined = self.linear(normed, f"{tensors}attn.qkv", size, 3 * size)
        parts = [f"{tensors}{part}" for part in ("queries", "keys", "values")]
        queries, keys, values = graph.nodes("Split", joined, names=parts, axis=-1, num_outputs=3)
        queries = graph.rope(queries, cos, sin, f"{queries}.rotated")
        keys = graph.rope(keys, cos, sin, f"{keys}.rotated")
        attended = self.look(queries, keys, values, index)
        projected = self.linear(attended, f"{tensors}attn.proj", size, size)
        hidden = graph.node("Add", hidden, projected, name=f"{tensors}residual")
        normed = self.norm(hidden, f"{tensors}norm2", size)
        return graph.node("Add", hidden, self.mlp(normed, tensors), name=f"{tensors}output")

    def look(self, queries: str, keys: str, values: str, index: int) -> str:
        """The attention of block `index`, rope applied."""
        return self.attend(queries, keys, values, self.spec.num_heads, f"blocks.{index}.attended")

    def merge(self, joined: str, first: str, second: str, name: str) -> str:
        """The patches of each token, joined, through the matrices `first` and `second`, as the value
        `name`."""
        spec = self.spec
        wide = self.linear(joined, first, spec.merged_size, spec.merged_size)
        active = self.graph.node("Gelu", wide, name=f"{first}.gelu")
        matrix = self.tensor(f"{second}.weight", spec.output_size, spec.merged_size)
        return self.affine(active, matrix, second, name)
