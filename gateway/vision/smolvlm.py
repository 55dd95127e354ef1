"""SmolVLM, SmolVLM2 and Idefics3: a picture is cut into square tiles, and shown once more as a whole.

Sources: transformers 5.23, smolvlm/image_processing_pil_smolvlm.py (sizes, cuts, normalisation) and
smolvlm/processing_smolvlm.py (rows and columns in the prompt); the published AX650N packages (uint8 pixels,
their channels last for the vendor's C++ and first for its Python, normalisation inside the graph).
"""

from collections.abc import Sequence
from math import ceil
from typing import ClassVar, TypeVar

import numpy as np
from PIL import Image

from backends.base import Array, Graph, TensorSpec
from gateway.vision.channels import NUM_CHANNELS, ChannelEncoder, ChannelSpec
from gateway.vision.encoder import Features, Pixels, Visual, finite, only_output
from gateway.vision.layout import Layout, Tile
from gateway.vision.normal import normal
from gateway.vision.smolvlm_video import MOST_FRAMES, describe, taken
from gateway.vision.spec import Colour, Count, Deviations, Edge, Resample, Text
from gateway.vision.video import Pace, Video


class SmolVLMSpec(ChannelSpec):
    """How a picture is cut, and the tokens around its tiles.

    tile_size:    edge of a tile in pixels; `patch_size` is that of a patch
    merge_size:   patches along each edge of a token
    longest_edge: what the picture's longer edge is made first, in pixels; null leaves it as it is
    grid:         rows and columns of tiles it is then stretched to; null takes as many as it covers. Where
                  there are several, the whole picture follows as one more
    tile_token:   says {row} and {column}, from 1
    """

    tile_size: Edge
    patch_size: Count
    merge_size: Count
    longest_edge: Edge | None
    grid: tuple[Count, Count] | None
    resample: Resample
    mean: Colour
    std: Deviations
    edge_token: Text
    tile_token: Text
    global_token: Text

    @property
    def num_patches(self) -> int:
        """Along an edge of a tile; pixels that make no whole patch are not seen."""
        return self.tile_size // self.patch_size

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        self.check()
        edge = self.tile_size
        return (
            TensorSpec("pixel_values", "uint8", (1, edge, edge, NUM_CHANNELS)),
            TensorSpec("pixel_values", "uint8", (1, NUM_CHANNELS, edge, edge)),
            TensorSpec("pixel_values", "float32", (1, NUM_CHANNELS, edge, edge)),
        )

    def check(self) -> None:
        """Raises ValueError naming the field where the numbers do not go together."""
        if self.question.count(self.marker) != 1:
            raise ValueError(f"field 'question': expected one {self.marker} in it, got {self.question}")
        if self.tile_size < self.patch_size:
            raise ValueError(
                f"field 'tile_size': expected at least patch_size ({self.patch_size}), got {self.tile_size}"
            )
        if self.num_patches % self.merge_size:
            raise ValueError(
                f"field 'merge_size': expected a divisor of the {self.num_patches} patches of an edge, "
                f"got {self.merge_size}"
            )
        if self.grid is None and (self.longest_edge is None or self.longest_edge % self.tile_size):
            raise ValueError(
                f"field 'longest_edge': expected a multiple of tile_size ({self.tile_size}) where grid is "
                f"null, got {self.longest_edge}"
            )
        if (
            self.grid is None and self.tile_size % 2
        ):  # the shorter edge is made even, and could be a tile more
            raise ValueError(
                f"field 'tile_size': expected an even number where grid is null, got {self.tile_size}"
            )
        if self.video is not None and self.video.max_frames > MOST_FRAMES:
            raise ValueError(
                f"field 'video.max_frames': expected at most {MOST_FRAMES}, got {self.video.max_frames}"
            )


Spec = TypeVar("Spec", bound=SmolVLMSpec, covariant=True)


class SmolVLM(ChannelEncoder[Spec]):
    """Pixels are uint8 or, for float graphs, normalised."""

    family: ClassVar[str] = "smolvlm"
    spec_type: ClassVar[type[SmolVLMSpec]] = SmolVLMSpec

    @property
    def smallest(self) -> Layout:
        return self._layout(*(self.spec.grid or (1, self._most_tiles)))

    @property
    def largest(self) -> Layout:
        return self._layout(*(self.spec.grid or (self._most_tiles, self._most_tiles)))

    @property
    def tiles_per_run(self) -> int:
        """How many tiles one run of the graph encodes."""
        return 1

    def prepare(self, image: Image.Image) -> Visual:
        if self.spec.longest_edge is not None:
            image = self._resize(image, scaled(image.size, self.spec.longest_edge))
        rows, columns = self.spec.grid or covered(image.size, self.spec.tile_size)
        return Visual(self._layout(rows, columns), self._runs(self._cut(image, rows, columns)))

    def sample(self, num_frames: int, rate: float, pace: Pace) -> list[int]:
        video = self.spec.video
        assert video is not None
        return taken(num_frames, rate, pace.fps or video.fps, pace.num_frames, video.max_frames)

    def prepare_video(self, video: Video) -> Visual:
        """Every frame is one tile; frames are not enlarged on the way (SmolVLMVideoProcessor: `video_size` is
        a tile's)."""
        edge = self.spec.tile_size
        frames = [self._resize(frame.image, scaled(frame.image.size, edge)) for frame in video.frames]
        tiles = [np.asarray(self._resize(frame, (edge, edge))) for frame in frames]
        layout = Layout(describe(video, self._whole), self._tiles(len(tiles)))
        return Visual(layout, self._runs(tiles))

    def check(self, graph: Graph, hidden_size: int) -> None:
        only_output(graph, self.tiles_per_run * self._tokens_per_tile, hidden_size)

    def encode(self, graph: Graph, pixels: Pixels) -> Features:
        (embeds,) = graph.run({graph.inputs[0].name: self.ordered(pixels.data)}).values()
        return finite(embeds.reshape(-1, embeds.shape[-1]))

    def run_data(self, tiles: Sequence[Array]) -> Array:
        """(edge, edge, 3) uint8 each, as many as one run encodes or fewer -> the data of its pixels."""
        (tile,) = tiles
        if self.graph_input.dtype == "float32":
            return normal(tile, self.spec.mean, self.spec.std)[np.newaxis]
        if self.graph_input.shape[1] == NUM_CHANNELS:
            tile = tile.transpose(2, 0, 1)
        return tile[np.newaxis]

    @property
    def _most_tiles(self) -> int:
        """Along an edge of a picture, where its shape decides."""
        assert self.spec.longest_edge is not None
        return self.spec.longest_edge // self.spec.tile_size

    @property
    def _token_grid(self) -> tuple[int, int]:
        side = self.spec.num_patches // self.spec.merge_size
        return side, side

    @property
    def _tokens_per_tile(self) -> int:
        return Tile(self._token_grid).num_tokens

    @property
    def _whole(self) -> str:
        """How a picture that is one tile stands in the prompt."""
        spec = self.spec
        return f"{spec.edge_token}{spec.global_token}{spec.placeholder}{spec.edge_token}"

    def _layout(self, rows: int, columns: int) -> Layout:
        if rows * columns == 1:
            return Layout(self._whole, self._tiles(1))
        spec, text = self.spec, ""
        for row in range(1, rows + 1):
            for column in range(1, columns + 1):
                place = spec.tile_token.replace("{row}", str(row)).replace("{column}", str(column))
                text += f"{spec.edge_token}{place}{spec.placeholder}"
            text += "\n"
        return Layout(f"{text}\n{self._whole}", self._tiles(rows * columns + 1))

    def _tiles(self, number: int) -> tuple[Tile, ...]:
        rows = [place % self.tiles_per_run * self._tokens_per_tile for place in range(number)]
        return tuple(Tile(self._token_grid, first=first) for first in rows)

    def _runs(self, tiles: Sequence[Array]) -> tuple[Pixels, ...]:
        """What each tile's features are made of."""
        step = self.tiles_per_run
        runs = [self.pixels(self.run_data(tiles[k : k + step])) for k in range(0, len(tiles), step)]
        return tuple(runs[place // step] for place in range(len(tiles)))

    def _cut(self, image: Image.Image, rows: int, columns: int) -> list[Array]:
        """The tiles row by row, and the whole where they are several: (edge, edge, 3) uint8 each."""
        edge = self.spec.tile_size
        canvas = self._resize(image, (columns * edge, rows * edge))
        pixels = np.asarray(canvas).reshape(rows, edge, columns, edge, NUM_CHANNELS)
        tiles = list(pixels.swapaxes(1, 2).reshape(-1, edge, edge, NUM_CHANNELS))
        return tiles if len(tiles) == 1 else [*tiles, np.asarray(self._resize(canvas, (edge, edge)))]

    def _resize(self, image: Image.Image, size: tuple[int, int]) -> Image.Image:
        return image.resize(size, Image.Resampling[self.spec.resample.upper()])


def scaled(size: tuple[int, int], longest_edge: int) -> tuple[int, int]:
    """Width and height with the longer one made `longest_edge`, the other one even."""
    width, height = size
    ratio = width / height
    if width >= height:
        return longest_edge, _even(int(longest_edge / ratio))
    return _even(int(longest_edge * ratio)), longest_edge


def covered(size: tuple[int, int], tile_size: int) -> tuple[int, int]:
    """Rows and columns of tiles that a picture of this width and height needs, after its longer edge grew to
    whole tiles and the other one with it."""
    width, height = size
    ratio = width / height
    if width >= height:
        columns = ceil(width / tile_size)
        return max(1, ceil(int(columns * tile_size / ratio) / tile_size)), columns
    rows = ceil(height / tile_size)
    return rows, max(1, ceil(int(rows * tile_size * ratio) / tile_size))


def _even(edge: int) -> int:
    return max(1, edge + edge % 2)
