"""Qwen3-VL: a picture is stretched to one fixed size, cut into patches, and encoded with deepstack features.

Sources: transformers 5.23, Qwen2VLImageProcessor (patch order) and Qwen3VLModel.get_rope_index (positions);
the published AX650N packages (channel-last uint8 patches, normalisation inside the graph, output names).
"""

import hashlib
from collections.abc import Collection, Sequence
from typing import ClassVar

import numpy as np
from PIL import Image

from backends.base import Array, Graph, PackageError, TensorSpec
from gateway.errors import EngineFailure
from gateway.vision.encoder import Features, Pixels, Span, VisionEncoder
from gateway.vision.spec import VisionSpec

CHANNELS = 3


class Qwen3VL(VisionEncoder):
    family: ClassVar[str] = "qwen3_vl"

    def __init__(self, spec: VisionSpec) -> None:
        """Raises ValueError naming the field when an edge cannot be cut into whole tokens."""
        super().__init__(spec)
        token_edge = spec.patch_size * spec.merge_size
        for field, edge in (("width", spec.width), ("height", spec.height)):
            if edge % token_edge:
                raise ValueError(
                    f"field '{field}': expected a multiple of patch_size * merge_size ({token_edge}), "
                    f"got {edge}"
                )
        self._grid = (spec.height // token_edge, spec.width // token_edge)

    @property
    def num_tokens_per_image(self) -> int:
        rows, columns = self._grid
        return rows * columns

    def input_spec(self) -> TensorSpec:
        spec = self.spec
        num_patches = self.num_tokens_per_image * spec.merge_size**2
        patch_pixels = spec.temporal_patch_size * spec.patch_size**2
        return TensorSpec("hidden_states", "uint8", (1, num_patches, patch_pixels, CHANNELS))

    def prepare(self, image: Image.Image) -> Pixels:
        """Stretched to the entry's size whatever its aspect ratio; a still picture is its own second frame.

        Patches come merge block by merge block, so that the patches of one token are neighbours; inside a
        patch the order is frame, row, column, channel.
        """
        spec = self.spec
        edge, merge, (rows, columns) = spec.patch_size, spec.merge_size, self._grid
        resized = image.resize((spec.width, spec.height), Image.Resampling[spec.resample.upper()])
        blocks = np.asarray(resized).reshape(rows, merge, edge, columns, merge, edge, CHANNELS)
        patches = blocks.transpose(0, 3, 1, 4, 2, 5, 6).reshape(-1, 1, edge * edge, CHANNELS)
        frames = np.repeat(patches, spec.temporal_patch_size, axis=1)
        data = np.ascontiguousarray(frames.reshape(self.input_spec().shape))
        digest = hashlib.blake2b(spec.name.encode(), digest_size=16)
        digest.update(data.data)
        return Pixels(data, self._grid, digest.digest())

    def check(self, graph: Graph, hidden_size: int) -> None:
        found = {tensor.name: tensor.shape for tensor in graph.outputs}
        expected = (self.num_tokens_per_image, hidden_size)
        for name in _outputs(found):
            if found.get(name) != expected:
                shape = list(found[name]) if name in found else "missing"
                raise PackageError(f"The vision graph's output {name} is {shape}, expected {list(expected)}.")

    def encode(self, graph: Graph, pixels: Pixels) -> Features:
        outputs = graph.run({graph.inputs[0].name: pixels.data})
        embeds, *deepstack = (outputs[name].astype(np.float32) for name in _outputs(outputs))
        if not all(np.isfinite(level).all() for level in (embeds, *deepstack)):
            raise EngineFailure("The vision graph gave values that are not finite.")
        return Features(embeds, tuple(deepstack))

    def positions(self, num_tokens: int, spans: Sequence[Span]) -> Array:
        """Text counts up in all three rows (time, height, width). A picture stays at one time and spreads
        over height and width from there; what follows it starts past its longer edge."""
        positions = np.empty((3, num_tokens), dtype=np.uint32)
        place = current = 0
        for span in spans:
            num_text = span.start - place
            positions[:, place : span.start] = np.arange(current, current + num_text)
            current += num_text
            rows, columns = np.indices(span.grid)
            positions[0, span.start : span.stop] = current
            positions[1, span.start : span.stop] = current + rows.ravel()
            positions[2, span.start : span.stop] = current + columns.ravel()
            current += max(span.grid)
            place = span.stop
        positions[:, place:] = np.arange(current, current + num_tokens - place)
        return positions


def _outputs(names: Collection[str]) -> list[str]:
    """The outputs that are read, in order: embeds, then deepstack by level."""
    num_levels = sum(name.startswith("deepstack_feature_") for name in names)
    return ["hidden_states_out", *(f"deepstack_feature_{level}" for level in range(num_levels))]
