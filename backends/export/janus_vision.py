"""The vision tower and the aligner of Janus-Pro as a graph, for one picture of a fixed size.

Formulas: transformers 5.23, janus/modeling_janus.py. Output: AXERA-TECH/Janus-Pro-1B.axera,
model_convert/export_onnx.py.
"""

from dataclasses import dataclass

from backends.export.checkpoint import Checkpoint
from backends.export.encoder_block import BlockTower, BlockTowerSpec
from backends.export.graph import GraphBuilder
from backends.export.options import VisionInput

TOWER, ALIGNER = "vision_model.", "aligner."


@dataclass(frozen=True, slots=True)
class JanusVisionSpec(BlockTowerSpec):
    """aligner_depth: matrices between the tower and the language model"""

    aligner_depth: int

    @property
    def num_tokens(self) -> int:
        return self.side**2


def build_vision(spec: JanusVisionSpec, checkpoint: Checkpoint, vision_input: VisionInput) -> GraphBuilder:
    """One picture -> embeds.

    Input:
        pixel_values (1, image_size, image_size, 3) uint8 or (1, 3, image_size, image_size) float32, RGB
    Output:
        output (1, tokens, output_size) float32
    """
    return _JanusTower(spec, checkpoint).build(vision_input)


class _JanusTower(BlockTower):
    def __init__(self, spec: JanusVisionSpec, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint, "model.", spec.norm_epsilon)
        self._spec = spec

    def build(self, vision_input: VisionInput) -> GraphBuilder:
        graph, spec = self.graph, self._spec
        picture = self.picture((spec.image_size, spec.image_size), spec.mean, spec.std, vision_input)
        name = f"{TOWER}embeddings.patch_embedding"
        patches = self.cut(picture, name, spec.patch_size, spec.block.hidden_size)
        table = self.tensor(
            f"{TOWER}embeddings.position_embedding.weight", spec.num_tokens, spec.block.hidden_size
        )
        hidden = graph.node("Add", patches, graph.weight("positions", table), name="embeds")
        for index in range(spec.depth):
            hidden = self.block(hidden, f"{TOWER}encoder.layers.{index}.", spec.block)
        self._align(self.norm(hidden, f"{TOWER}post_layernorm", spec.block.hidden_size))
        graph.output("output", "float32", [1, spec.num_tokens, spec.output_size])
        return graph

    def _align(self, hidden: str) -> None:
        """Through the aligner's matrices, the last as the value "output"."""
        spec, size = self._spec, self._spec.block.hidden_size
        names = [f"{ALIGNER}fc1", *(f"{ALIGNER}hidden_layers.{n}" for n in range(spec.aligner_depth - 1))]
        for name in names:
            if name != names[0]:
                hidden = self.graph.node("Gelu", hidden, name=f"{name}.gelu")
            matrix = self.tensor(f"{name}.weight", spec.output_size, size)
            hidden = self.affine(hidden, matrix, name, "output" if name == names[-1] else name)
            size = spec.output_size
