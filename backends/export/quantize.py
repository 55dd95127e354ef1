"""Weight-only quantisation of the matrices of a graph: what is stored, and how a graph multiplies with it.

The card's compiler keeps activations at 16 bits, so only weights lose precision here too. They are widened
by Cast and Mul, which onnxruntime folds into one fp32 matrix at load. DequantizeLinear would say the same
more plainly, but onnxruntime fuses it with the product into a kernel that rounds activations to 8 bits too.
"""

from typing import Literal

import ml_dtypes
import numpy as np

from backends.base import Array
from backends.export.errors import ExportError
from backends.export.graph import GraphBuilder

Weights = Literal["keep", "int8", "int4"]
"""keep: the checkpoint's type; int8: one scale per output channel; int4: one per 32 inputs of a channel."""

INT4_BLOCK = 32


def linear(graph: GraphBuilder, value: str, matrix: Array, weights: Weights, name: str) -> str:
    """value (…, in) times `matrix` (out, in) as a checkpoint stores it -> (…, out)."""
    return graph.node("MatMul", value, _stored(graph, matrix.T, weights, f"{name}.weight"), name=name)


def _stored(graph: GraphBuilder, matrix: Array, weights: Weights, name: str) -> str:
    if weights == "keep":
        return graph.weight(name, matrix)
    if weights == "int4" and len(matrix) % INT4_BLOCK:
        raise ExportError(f"{name}: int4 needs a multiple of {INT4_BLOCK} inputs, found {len(matrix)}")
    quantised, scales = quantise_int8(matrix) if weights == "int8" else quantise_int4(matrix)
    widened = graph.node(
        "Mul",
        graph.float32(graph.constant(f"{name}.{weights}", quantised)),
        graph.constant(f"{name}.scales", scales),
        name=f"{name}.blocks",
    )
    return graph.reshape(widened, matrix.shape, name=name)


def quantise_int8(matrix: Array) -> tuple[Array, Array]:
    """(in, out) -> int8 (in, out) and float32 scales (1, out); their product is within half a scale."""
    return _quantise(matrix, axis=0, largest=127, dtype=np.dtype(np.int8))


def quantise_int4(matrix: Array) -> tuple[Array, Array]:
    """(in, out) -> int4 (in / 32, 32, out) and float32 scales (in / 32, 1, out)."""
    blocks = matrix.reshape(-1, INT4_BLOCK, matrix.shape[1])
    return _quantise(blocks, axis=1, largest=7, dtype=np.dtype(ml_dtypes.int4))


def _quantise(matrix: Array, axis: int, largest: int, dtype: np.dtype[np.generic]) -> tuple[Array, Array]:
    values = matrix.astype(np.float32)
    scales = np.abs(values).max(axis=axis, keepdims=True) / np.float32(largest)
    scales[scales == 0] = 1  # a channel of zeros stays zeros
    return np.rint(values / scales).astype(np.int8).astype(dtype), scales
