"""MiniCPM-V 2.6: a picture is one square view, and larger ones are cut into slices that are such views too.

Which grid of slices a picture gets, and how that stands in the prompt, is as in the reference. Its views
keep the picture's shape and differ in size. A compiled graph has one size, so here a view is stretched to a
square; for pictures and slices that are square that is the same.

Sources: openbmb/MiniCPM-V-2_6, image_processing_minicpmv.py (grid, prompt, order of pixels);
AXERA-TECH/MiniCPM-V-4.6.axera (square views of one size, shape of the graph's input).
"""

from math import ceil, log
from typing import ClassVar

import numpy as np
from PIL import Image

from backends.base import Array, Graph, TensorSpec
from gateway.vision.encoder import Features, Pixels, VisionEncoder, Visual, finite, only_output
from gateway.vision.layout import Layout, Tile
from gateway.vision.normal import normal
from gateway.vision.spec import Colour, Count, Deviations, Edge, Resample, Text, VisionSpec

Grid = tuple[int, int]
"""Columns and rows of slices."""


class MiniCPMVSpec(VisionSpec):
    """`image_size` is the edge of a view and `patch_size` that of a patch, in pixels; the resampler makes
    `num_queries` tokens of a view. Besides the whole picture there are up to `max_slices` slices, and none
    where that is 1. `start` and `end`, `slice_start` and `slice_end` stand around the placeholders of a view.
    """

    image_size: Edge
    patch_size: Count
    num_queries: Count
    max_slices: Count
    mean: Colour
    std: Deviations
    resample: Resample
    start: Text
    end: Text
    slice_start: Text
    slice_end: Text

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Raw pixels, which the graph normalises; normalised ones; these with the patches side by side."""
        edge, patch = self.image_size, self.patch_size
        if edge % patch:
            raise ValueError(f"field 'image_size': expected a multiple of patch_size ({patch}), got {edge}")
        return (
            TensorSpec("pixel_values", "uint8", (1, edge, edge, 3)),
            TensorSpec("pixel_values", "float32", (1, 3, edge, edge)),
            TensorSpec("pixel_values", "float32", (1, 3, patch, edge * edge // patch)),
        )


class MiniCPMV(VisionEncoder[MiniCPMVSpec]):
    family: ClassVar[str] = "minicpmv"
    spec_type: ClassVar[type[VisionSpec]] = MiniCPMVSpec

    @property
    def smallest(self) -> Layout:
        return self._layout(None)

    @property
    def largest(self) -> Layout:
        return self._layout((1, self.spec.max_slices) if self.spec.max_slices > 1 else None)

    def prepare(self, image: Image.Image) -> Visual:
        edge = self.spec.image_size
        grid = best_grid(image.size, edge, self.spec.max_slices)
        views = [self._stretched(image, 1, 1)]
        if grid is not None:
            columns, rows = grid
            canvas = self._stretched(image, columns, rows)
            views += [
                canvas[row * edge :, column * edge :][:edge, :edge]
                for row in range(rows)
                for column in range(columns)
            ]
        return Visual(self._layout(grid), tuple(self.pixels(self._taken(view)) for view in views))

    def check(self, graph: Graph, hidden_size: int) -> None:
        only_output(graph, self.spec.num_queries, hidden_size)

    def encode(self, graph: Graph, pixels: Pixels) -> Features:
        (embeds,) = graph.run({graph.inputs[0].name: pixels.data}).values()
        return finite(embeds.reshape(self.spec.num_queries, -1))

    def _layout(self, grid: Grid | None) -> Layout:
        spec = self.spec
        columns, rows = grid or (0, 0)
        line = f"{spec.slice_start}{spec.placeholder}{spec.slice_end}" * columns
        text = f"{spec.start}{spec.placeholder}{spec.end}" + "\n".join([line] * rows)
        return Layout(text, (Tile((1, spec.num_queries)),) * (1 + columns * rows))

    def _stretched(self, image: Image.Image, columns: int, rows: int) -> Array:
        """(rows * edge, columns * edge, 3) uint8."""
        edge, filter = self.spec.image_size, Image.Resampling[self.spec.resample.upper()]
        return np.asarray(image.resize((columns * edge, rows * edge), filter))

    def _taken(self, view: Array) -> Array:
        """A view as the graph takes it."""
        if self.graph_input.dtype == "uint8":
            return view[np.newaxis]
        planes, patch = normal(view, self.spec.mean, self.spec.std), self.spec.patch_size
        if self.graph_input.shape[2] == patch:
            side = self.spec.image_size // patch
            planes = planes.reshape(3, side, patch, side, patch).transpose(0, 2, 1, 3, 4)
        return planes.reshape(self.graph_input.shape)


def best_grid(size: tuple[int, int], edge: int, max_slices: int) -> Grid | None:
    """The grid of slices for a picture of `size` (width, height); None where it is seen whole only.

    It has as many slices as the picture has times the pixels of a view, or one more or less, and of those the
    shape nearest the picture's, as a ratio.
    """
    width, height = size
    wanted = min(ceil(width * height / edge**2), max_slices)
    if wanted <= 1:
        return None
    counts = (count for count in (wanted - 1, wanted, wanted + 1) if 1 < count <= max_slices)
    grids = [(columns, count // columns) for count in counts for columns in _divisors(count)]
    return min(grids, key=lambda grid: abs(log(width / height) - log(grid[0] / grid[1])))


def _divisors(count: int) -> list[int]:
    return [each for each in range(1, count + 1) if count % each == 0]
