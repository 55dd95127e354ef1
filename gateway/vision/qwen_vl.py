"""What the Qwen-VL families have in common: a picture is stretched to one fixed size and cut into patches.

Sources: transformers 5.23, Qwen2VLImageProcessor and Qwen2VLVideoProcessor (patch order, groups of frames);
the published AX650N packages (channel-last uint8 patches, normalisation inside the graph).
"""

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import numpy as np
from PIL import Image

from backends.base import Array, TensorSpec
from gateway.vision.encoder import VisionEncoder, Visual
from gateway.vision.layout import Layout, Span, Tile
from gateway.vision.positions import mrope_positions
from gateway.vision.spec import Count, Edge, Resample, VisionSpec
from gateway.vision.video import Frame, Video

CHANNELS = 3


class QwenVLSpec(VisionSpec):
    """Width and height in pixels; `patch_size` is the edge of a square patch in pixels, `temporal_patch_size`
    its frames; `merge_size` patches along each edge make one token."""

    width: Edge
    height: Edge
    patch_size: Count
    temporal_patch_size: Count
    merge_size: Count
    resample: Resample

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        token_edge = self.patch_size * self.merge_size
        return self.height // token_edge, self.width // token_edge

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        token_edge = self.patch_size * self.merge_size
        for field, edge in (("width", self.width), ("height", self.height)):
            if edge % token_edge:
                raise ValueError(
                    f"field '{field}': expected a multiple of patch_size * merge_size ({token_edge}), "
                    f"got {edge}"
                )
        num_patches = self.width * self.height // self.patch_size**2
        patch_pixels = self.temporal_patch_size * self.patch_size**2
        return (TensorSpec("hidden_states", "uint8", (1, num_patches, patch_pixels, CHANNELS)),)


Spec = TypeVar("Spec", bound=QwenVLSpec, covariant=True)


class QwenVL(VisionEncoder[Spec]):
    has_own_prefix: ClassVar[bool] = True

    @property
    def smallest(self) -> Layout:
        return Layout(self.spec.placeholder, (Tile(self.spec.grid),))

    @property
    def largest(self) -> Layout:
        return self.smallest

    def prepare(self, image: Image.Image) -> Visual:
        """Stretched to the entry's size whatever its aspect; a still picture is its own second frame."""
        data = self.patches([self.stretched(image)] * self.spec.temporal_patch_size)
        return Visual(self.smallest, (self.pixels(data),))

    def groups(self, video: Video) -> list[tuple[Frame, ...]]:
        """The frames that one run of the graph sees together, the last repeated where it has no company."""
        size = self.spec.temporal_patch_size
        frames = video.frames + video.frames[-1:] * (-len(video.frames) % size)
        return [frames[start : start + size] for start in range(0, len(frames), size)]

    def stretched(self, image: Image.Image) -> Array:
        """(height, width, 3) uint8."""
        size, filter = (self.spec.width, self.spec.height), Image.Resampling[self.spec.resample.upper()]
        return np.asarray(image.resize(size, filter))

    def patches(self, frames: Sequence[Array]) -> Array:
        """The frames of a group -> the graph's input. Patches come merge block by merge block, so that those
        of one token are neighbours; inside a patch the order is frame, row, column, channel."""
        spec = self.spec
        edge, merge, (rows, columns) = spec.patch_size, spec.merge_size, spec.grid
        pixels = np.stack(frames)
        blocks = pixels.reshape(len(frames), rows, merge, edge, columns, merge, edge, CHANNELS)
        return blocks.transpose(1, 4, 2, 5, 0, 3, 6, 7).reshape(self.graph_input.shape)

    def positions(self, num_tokens: int, spans: Sequence[Span]) -> Array:
        return mrope_positions(num_tokens, spans)
