"""SmolVLM2 packages whose vision graph takes patch embeddings: many tiles in one run, the first layer on the
host.

Source: the published Python package of SmolVLM2-500M for the AX650N (input [17, 1024, 768], connector
inside); transformers 5.23, SmolVLMVisionEmbeddings.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from backends.base import Array, Graph, TensorSpec
from backends.patch_embedding import PatchEmbedding
from gateway.vision.encoder import Features, Pixels, finite
from gateway.vision.normal import normal
from gateway.vision.smolvlm import SmolVLM, SmolVLMSpec
from gateway.vision.spec import Count, Edge


class SmolVLMPatchesSpec(SmolVLMSpec):
    """`num_tiles` is how many the graph takes at once, `vision_size` how wide an embedding is."""

    num_tiles: Count
    vision_size: Edge

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        self.check()
        return (TensorSpec("input", "float32", (self.num_tiles, self.num_patches**2, self.vision_size)),)


class SmolVLMPatches(SmolVLM[SmolVLMPatchesSpec]):
    """Pixels are the uint8 tiles of a run; what is missing of them is filled up as the graph is run."""

    family: ClassVar[str] = "smolvlm_patches"
    spec_type: ClassVar[type[SmolVLMSpec]] = SmolVLMPatchesSpec
    _embedding: PatchEmbedding

    @property
    def tiles_per_run(self) -> int:
        return self.spec.num_tiles

    def run_data(self, tiles: Sequence[Array]) -> Array:
        return np.stack(tiles)

    def load(self, package: Path) -> None:
        spec = self.spec
        self._embedding = PatchEmbedding.load(package, spec.patch_size, spec.num_patches, spec.vision_size)

    def encode(self, graph: Graph, pixels: Pixels) -> Features:
        """Missing tiles are those of zeros, as in a padded batch of transformers; their rows are left out."""
        spec, tiles = self.spec, self.ordered(pixels.data)
        data = np.empty(self.graph_input.shape, np.float32)
        data[:] = self._embedding.offset
        for place, tile in enumerate(tiles):
            data[place] = self._embedding.embeds(normal(tile, spec.mean, spec.std))
        (embeds,) = graph.run({graph.inputs[0].name: data}).values()
        by_tile = embeds.reshape(spec.num_tiles, -1, embeds.shape[-1])[: len(tiles)]
        return finite(by_tile.reshape(-1, embeds.shape[-1]))
