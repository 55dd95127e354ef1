"""What the families have in common that see a picture in one square, the whole of it and not stretched."""

from abc import abstractmethod
from typing import TypeVar

import numpy as np
from PIL import Image

from backends.base import Graph, TensorSpec
from gateway.vision.encoder import Features, Pixels, VisionEncoder, Visual, finite, only_output
from gateway.vision.layout import Layout, Tile
from gateway.vision.normal import normal
from gateway.vision.spec import Colour, Count, Deviations, Edge, Resample, VisionSpec

CHANNELS = 3


class SquareSpec(VisionSpec):
    """`image_size` is the edge of the square in pixels, `grid_size` that of its features in tokens. `mean`
    and `std` are in 0…1, and what the picture leaves of the square has the mean's colour. `start` and `end`
    stand around the placeholders."""

    image_size: Edge
    grid_size: Count
    mean: Colour
    std: Deviations
    resample: Resample
    start: str = ""
    end: str = ""

    @property
    def background(self) -> tuple[int, ...]:
        """Red, green and blue in 0…255."""
        return tuple(int(255 * share) for share in self.mean)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Raw pixels, which the graph normalises, or normalised ones: the vendor's compiler makes both."""
        size = self.image_size
        return (
            TensorSpec("image", "uint8", (1, size, size, CHANNELS)),
            TensorSpec("image", "float32", (1, CHANNELS, size, size)),
        )


Spec = TypeVar("Spec", bound=SquareSpec, covariant=True)


class Square(VisionEncoder[Spec]):
    @property
    def smallest(self) -> Layout:
        size = self.spec.grid_size
        return Layout(f"{self.spec.start}{self.spec.placeholder}{self.spec.end}", (Tile((size, size)),))

    @property
    def largest(self) -> Layout:
        return self.smallest

    @abstractmethod
    def fit(self, image: Image.Image) -> Image.Image:
        """A picture of any size -> the square."""

    def prepare(self, image: Image.Image) -> Visual:
        square = np.asarray(self.fit(image))
        if self.graph_input.dtype == "float32":
            square = normal(square, self.spec.mean, self.spec.std)
        return Visual(self.smallest, (self.pixels(square[np.newaxis]),))

    def check(self, graph: Graph, hidden_size: int) -> None:
        only_output(graph, self.smallest.num_tokens, hidden_size)

    def encode(self, graph: Graph, pixels: Pixels) -> Features:
        (embeds,) = graph.run({graph.inputs[0].name: pixels.data}).values()
        return finite(embeds.reshape(self.smallest.num_tokens, -1))

    def resized(self, image: Image.Image, width: int, height: int) -> Image.Image:
        return image.resize((width, height), Image.Resampling[self.spec.resample.upper()])
