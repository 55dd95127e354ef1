"""The vision tower and the projector of MobileVLM V2 as a graph, for one picture of a fixed size.

Formulas: transformers 5.23, clip/modeling_clip.py; Meituan-AutoML/MobileVLM, in mobilevlm/model:
vision_encoder.py (which layer is taken) and vision_projector.py (LDPNetV2Projector).
"""

import numpy as np

from backends.export.checkpoint import Checkpoint
from backends.export.encoder_block import BlockTower, BlockTowerSpec
from backends.export.graph import GraphBuilder
from backends.export.options import VisionInput

GRID = 12
"""Rows, and columns, of tokens; the projector's own."""

TOWER, PROJECTOR = "vision_tower.vision_tower.vision_model.", "mm_projector."


def build_vision(spec: BlockTowerSpec, checkpoint: Checkpoint, vision_input: VisionInput) -> GraphBuilder:
    """One picture -> embeds.

    Input:
        pixel_values (1, image_size, image_size, 3) uint8 or (1, 3, image_size, image_size) float32, RGB
    Output:
        output (1, 144, output_size) float32
    """
    return _MobileVLMTower(spec, checkpoint).build(vision_input)


class _MobileVLMTower(BlockTower):
    def __init__(self, spec: BlockTowerSpec, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint, "model.", spec.norm_epsilon)
        self._spec = spec

    def build(self, vision_input: VisionInput) -> GraphBuilder:
        spec = self._spec
        hidden = self.norm(self._embed(vision_input), f"{TOWER}pre_layrnorm", spec.block.hidden_size)
        for index in range(spec.depth):
            hidden = self.block(hidden, f"{TOWER}encoder.layers.{index}.", spec.block)
        self._project(hidden)
        self.graph.output("output", "float32", [1, GRID**2, spec.output_size])
        return self.graph

    def _embed(self, vision_input: VisionInput) -> str:
        """(1, 1 + patches, hidden): the class token, then the patches, each with its learned position."""
        graph, spec, size = self.graph, self._spec, self._spec.block.hidden_size
        picture = self.picture((spec.image_size, spec.image_size), spec.mean, spec.std, vision_input)
        patch, name = spec.patch_size, f"{TOWER}embeddings.patch_embedding"
        kernel = graph.weight(f"{name}.weight", self.tensor(f"{name}.weight", size, 3, patch, patch))
        planes = graph.node("Conv", picture, kernel, name=f"{name}.planes", strides=[patch, patch])
        flat = graph.reshape(planes, [1, size, -1], f"{name}.flat")
        patches = graph.node("Transpose", flat, name=name, perm=[0, 2, 1])
        class_token = self.tensor(f"{TOWER}embeddings.class_embedding", size).reshape(1, 1, size)
        joined = graph.node("Concat", graph.weight("class", class_token), patches, name="joined", axis=1)
        table = self.tensor(f"{TOWER}embeddings.position_embedding.weight", 1 + spec.side**2, size)
        return graph.node("Add", joined, graph.weight("positions", table), name="embeds")

    def _project(self, hidden: str) -> None:
        """The patches through two matrices, the mean of each block of them, and each token's surroundings."""
        graph, spec, size = self.graph, self._spec, self._spec.output_size
        start, end, axis = (
            graph.constant(f"patches.{name}", np.array([value]))
            for name, value in (("start", 1), ("end", 1 + spec.side**2), ("axis", 1))
        )
        patches = graph.node("Slice", hidden, start, end, axis, name="patches")
        wide = self.linear(patches, f"{PROJECTOR}mlp.mlp.0", spec.block.hidden_size, size)
        active = graph.node("Gelu", wide, name=f"{PROJECTOR}gelu")
        rows = self.linear(active, f"{PROJECTOR}mlp.mlp.2", size, size)
        turned = graph.node("Transpose", rows, name="rows.turned", perm=[0, 2, 1])
        planes = graph.reshape(turned, [1, size, spec.side, spec.side], "planes")
        edge = spec.side // GRID
        pooled = graph.node("AveragePool", planes, name="pooled", kernel_shape=[edge] * 2, strides=[edge] * 2)
        name = f"{PROJECTOR}peg.peg.0"
        kernel = graph.weight(f"{name}.weight", self.tensor(f"{name}.weight", size, 1, 3, 3))
        bias = graph.weight(f"{name}.bias", self.tensor(f"{name}.bias", size))
        around = graph.node("Conv", pooled, kernel, bias, name=name, group=size, pads=[1] * 4)
        tokens = graph.node("Add", pooled, around, name="tokens")
        flat = graph.reshape(tokens, [1, size, GRID**2], "tokens.flat")
        graph.node("Transpose", flat, name="output", perm=[0, 2, 1])
