"""InternVL 2.5, 3 and 3.5: a picture is one square tile, or a grid of them and a thumbnail.

Sources: transformers 5.23, got_ocr2/image_processing_pil_got_ocr2.py (tiles), internvl/processing_internvl.py
(prompt) and internvl/video_processing_internvl.py (frames); the published AX650N packages (graphs of one
tile: uint8 with normalisation inside, or float32 without).
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from backends.base import Array, Graph, TensorSpec
from gateway.vision.encoder import Features, Pixels, VisionEncoder, Visual, finite, only_output
from gateway.vision.layout import Layout, Tile
from gateway.vision.normal import normal
from gateway.vision.spec import Colour, Count, Deviations, Edge, Resample, Text, VideoSpec, VisionSpec
from gateway.vision.video import Pace, Video

CHANNELS = 3

Grid = tuple[int, int]
"""Columns and rows of tiles."""


class InternVLVideoSpec(VideoSpec):
    """`frame` is written before each frame, with {} for its number, counted from 1."""

    frame: Annotated[str, Field(pattern=r"^[^{}]*\{\}[^{}]*$")]


class InternVLSpec(VisionSpec):
    """`image_size` is the edge of a tile and `patch_size` that of a patch, in pixels; `merge_size` patches
    along each edge make one token. A picture becomes `min_tiles` to `max_tiles` tiles; with `use_thumbnail`,
    one that becomes several is seen as a whole as well, in a tile of its own. `start` and `end` stand around
    the tiles of a picture; `mean` and `std` are in 0…1.
    """

    image_size: Edge
    patch_size: Count
    merge_size: Count
    min_tiles: Count
    max_tiles: Count
    use_thumbnail: bool
    mean: Colour
    std: Deviations
    resample: Resample
    start: Text
    end: Text
    video: InternVLVideoSpec | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens of a tile."""
        edge = self.image_size // (self.patch_size * self.merge_size)
        return edge, edge

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        size, token_edge = self.image_size, self.patch_size * self.merge_size
        if size % token_edge:
            raise ValueError(
                f"field 'image_size': expected a multiple of patch_size * merge_size ({token_edge}), "
                f"got {size}"
            )
        if self.max_tiles < self.min_tiles:
            raise ValueError(
                f"field 'max_tiles': expected at least min_tiles ({self.min_tiles}), got {self.max_tiles}"
            )
        return (
            TensorSpec("pixel_values", "uint8", (1, size, size, CHANNELS)),
            TensorSpec("pixel_values", "float32", (1, CHANNELS, size, size)),
        )


class InternVL(VisionEncoder[InternVLSpec]):
    family: ClassVar[str] = "internvl"
    spec_type: ClassVar[type[VisionSpec]] = InternVLSpec

    @property
    def smallest(self) -> Layout:
        return self._layout(self._num_runs(self.spec.min_tiles))

    @property
    def largest(self) -> Layout:
        return self._layout(self._num_runs(self.spec.max_tiles))

    def prepare(self, image: Image.Image) -> Visual:
        """Stretched to the grid whose shape is nearest its own; the whole picture comes last."""
        edge = self.spec.image_size
        columns, rows = best_grid(image.size, edge, self.spec.min_tiles, self.spec.max_tiles)
        canvas = self._stretched(image, columns, rows)
        tiles = [
            canvas[row * edge :, column * edge :][:edge, :edge]
            for row in range(rows)
            for column in range(columns)
        ]
        if self._num_runs(len(tiles)) > len(tiles):
            tiles.append(self._stretched(image, 1, 1))
        return Visual(self._layout(len(tiles)), self._pixels(tiles))

    def sample(self, num_frames: int, rate: float, pace: Pace) -> list[int]:
        """As many as other families take, each from the middle of its share of the video."""
        number = len(super().sample(num_frames, rate, pace))
        return [(2 * place + 1) * num_frames // (2 * number) for place in range(number)]

    def prepare_video(self, video: Video) -> Visual:
        """Each frame is one tile, on a line of its own."""
        assert self.spec.video is not None, "only for entries that have a video"
        one = self._layout(1)
        lines = [self.spec.video.frame.format(number + 1) + one.text for number in range(len(video.frames))]
        tiles = [self._stretched(frame.image, 1, 1) for frame in video.frames]
        return Visual(Layout("\n".join(lines), one.tiles * len(tiles)), self._pixels(tiles))

    def check(self, graph: Graph, hidden_size: int) -> None:
        only_output(graph, self._layout(1).num_tokens, hidden_size)

    def encode(self, graph: Graph, pixels: Pixels) -> Features:
        (embeds,) = graph.run({graph.inputs[0].name: pixels.data}).values()
        return finite(embeds.reshape(self._layout(1).num_tokens, -1))

    def _num_runs(self, num_tiles: int) -> int:
        """How often the graph runs for a grid of so many tiles."""
        return num_tiles + (self.spec.use_thumbnail and num_tiles > 1)

    def _layout(self, num_tiles: int) -> Layout:
        text = self.spec.start + self.spec.placeholder * num_tiles + self.spec.end
        return Layout(text, (Tile(self.spec.grid),) * num_tiles)

    def _stretched(self, image: Image.Image, columns: int, rows: int) -> Array:
        """(rows * edge, columns * edge, 3) uint8."""
        edge, filter = self.spec.image_size, Image.Resampling[self.spec.resample.upper()]
        return np.asarray(image.resize((columns * edge, rows * edge), filter))

    def _pixels(self, tiles: Sequence[Array]) -> tuple[Pixels, ...]:
        if self.graph_input.dtype == "float32":
            tiles = [normal(tile, self.spec.mean, self.spec.std) for tile in tiles]
        return tuple(self.pixels(tile[np.newaxis]) for tile in tiles)


def best_grid(size: tuple[int, int], edge: int, min_tiles: int, max_tiles: int) -> Grid:
    """The grid for a picture of `size` (width, height): the one whose shape is nearest the picture's. Of
    several that are as near, it is the largest that the picture has enough pixels for: more than half those
    of the grid."""
    width, height = size
    best, nearest = (1, 1), float("inf")
    for columns, rows in _grids(min_tiles, max_tiles):
        distance = abs(width / height - columns / rows)
        has_enough = width * height > 0.5 * edge * edge * columns * rows
        if distance < nearest or (distance == nearest and has_enough):
            best, nearest = (columns, rows), distance
    return best


def _grids(min_tiles: int, max_tiles: int) -> list[Grid]:
    """Few tiles first, and among as many those with few columns."""
    edges = range(1, max_tiles + 1)
    grids = [(columns, rows) for columns in edges for rows in edges]
    return sorted(
        (grid for grid in grids if min_tiles <= grid[0] * grid[1] <= max_tiles),
        key=lambda grid: grid[0] * grid[1],
    )
