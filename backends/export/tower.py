"""What the graphs of vision towers have in common."""

from collections.abc import Sequence

import numpy as np

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.errors import ExportError
from backends.export.graph import CONTRIB, GraphBuilder
from backends.export.options import VisionInput

MEAN, STD, NORMAL = "mean", "std", "pixels.normal"
"""What a graph that normalises its pixels calls the two constants, and the outcome."""


class Tower:
    """A vision graph under construction, from the tensors of a checkpoint whose names begin with `tensors`.

    Values are passed by name, as in `graph`; `epsilon` is that of its layer norms.
    """

    def __init__(self, checkpoint: Checkpoint, tensors: str, epsilon: float) -> None:
        self.graph = GraphBuilder("vision")
        self._checkpoint = checkpoint
        self._tensors = tensors
        self._epsilon = epsilon

    def tensor(self, name: str, *shape: int) -> Array:
        return self._checkpoint.tensor(f"{self._tensors}{name}", shape)

    def picture(
        self, size: tuple[int, int], mean: Sequence[float], std: Sequence[float], vision_input: VisionInput
    ) -> str:
        """The graph's input, a picture of `size` (rows, columns) in RGB -> (1, 3, rows, columns), normal."""
        if vision_input == "f32-patches":
            raise ExportError(
                f"vision_input: expected u8-nhwc or f32-nchw for this model, got {vision_input}"
            )
        if vision_input == "f32-nchw":
            return self.graph.input("pixel_values", "float32", [1, 3, *size])
        pixels = self.graph.load("pixel_values", "uint8", [1, *size, 3])
        normal = self.normal(pixels, mean, std)
        return self.graph.node("Transpose", normal, name="picture", perm=[0, 3, 1, 2])

    def cut(self, picture: str, name: str, patch_size: int, num_outputs: int) -> str:
        """A picture as `picture` gives it -> (1, patches, num_outputs), row by row, each patch through the
        kernel and bias called `name`."""
        graph, kernel_shape = self.graph, [patch_size, patch_size]
        kernel = graph.weight(f"{name}.weight", self.tensor(f"{name}.weight", num_outputs, 3, *kernel_shape))
        bias = graph.weight(f"{name}.bias", self.tensor(f"{name}.bias", num_outputs))
        planes = graph.node("Conv", picture, kernel, bias, name=f"{name}.planes", strides=kernel_shape)
        flat = graph.reshape(planes, [1, num_outputs, -1], f"{name}.flat")
        return graph.node("Transpose", flat, name=name, perm=[0, 2, 1])

    def normal(self, pixels: str, mean: Sequence[float], std: Sequence[float]) -> str:
        """Pixels of 0 to 255 with the colour as the last axis -> what the tower was trained on. `mean` and
        `std` are in 0…1."""
        graph = self.graph
        white = graph.constant("white", np.array(255, np.float32))
        scaled = graph.node("Div", pixels, white, name="pixels.scaled")
        shift = graph.constant(MEAN, np.array(mean, np.float32))
        centred = graph.node("Sub", scaled, shift, name="pixels.centred")
        scale = graph.constant(STD, np.array(std, np.float32))
        return graph.node("Div", centred, scale, name=NORMAL)

    def norm(self, value: str, name: str, size: int, epsilon: float | None = None) -> str:
        """Layer norm over the last axis, with the weight and bias called `name`."""
        gain = self.graph.weight(f"{name}.weight", self.tensor(f"{name}.weight", size))
        shift = self.graph.weight(f"{name}.bias", self.tensor(f"{name}.bias", size))
        return self.graph.node(
            "LayerNormalization",
            value,
            gain,
            shift,
            name=name,
            axis=-1,
            epsilon=self._epsilon if epsilon is None else epsilon,
        )

    def linear(self, value: str, name: str, num_inputs: int, num_outputs: int, *, bias: bool = True) -> str:
        """value times the matrix called `name`, plus its bias."""
        matrix = self.tensor(f"{name}.weight", num_outputs, num_inputs)
        if bias:
            return self.affine(value, matrix, name, name)
        weight = self.graph.weight(f"{name}.weight", matrix.T)
        return self.graph.node("MatMul", value, weight, name=name)

    def affine(self, value: str, matrix: Array, tensors: str, name: str) -> str:
        """value times `matrix` (out, in), plus the bias of `tensors`, as the value `name`."""
        graph = self.graph
        weight = graph.weight(f"{tensors}.weight", matrix.T)
        bias = graph.weight(f"{tensors}.bias", self.tensor(f"{tensors}.bias", len(matrix)))
        product = graph.node("MatMul", value, weight, name=f"{tensors}.product")
        return graph.node("Add", product, bias, name=name)

    def attend(self, queries: str, keys: str, values: str, num_heads: int, name: str) -> str:
        """Attention of everything to everything: (1, n, heads * size) each -> the same, called `name`."""
        return self.graph.node(
            "MultiHeadAttention",
            queries,
            keys,
            values,
            name=name,
            domain=CONTRIB,
            num_heads=num_heads,
        )
