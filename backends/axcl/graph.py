"""One-shot graphs, such as vision encoders: inputs up, one execute, outputs down."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from backends.axcl.handles import Buffer
from backends.axcl.layout import HALF
from backends.axcl.loading import load
from backends.axcl.rt import Runtime
from backends.base import Array, PackageError, TensorSpec


class AxclGraph:
    """A compiled network with one shape group, loaded with buffers of its own."""

    def __init__(self, runtime: Runtime, path: Path) -> None:
        self._runtime = runtime
        with ExitStack() as undo:
            self._model = load(runtime, path)
            undo.callback(runtime.unload, self._model)
            if len(self._model.groups) != 1:
                raise PackageError(f"{path.name} has {len(self._model.groups)} shape groups, expected one")
            if not (self.inputs and self.outputs):
                raise PackageError(f"{path.name} has no {'outputs' if self.inputs else 'inputs'}")
            self._io = runtime.create_io(self._model)
            undo.callback(runtime.destroy_io, self._io)
            self._inputs = [self._allocate(undo, tensor) for tensor in self.inputs]
            self._outputs = [self._allocate(undo, tensor) for tensor in self.outputs]
            self._undo = undo.pop_all()
        for index, buffer in enumerate(self._inputs):
            runtime.set_input(self._io, index, buffer)
        for index, buffer in enumerate(self._outputs):
            runtime.set_output(self._io, index, buffer)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._model.groups[0].inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._model.groups[0].outputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Raises ValueError where an array is not of the compiled shape and dtype."""
        for tensor, buffer in zip(self.inputs, self._inputs, strict=True):
            array = inputs[tensor.name]
            if array.shape != tensor.shape or array.dtype != np.dtype(tensor.dtype):
                raise ValueError(
                    f"{tensor.name} takes {tensor.dtype}{tensor.shape}, not {array.dtype}{array.shape}"
                )
            self._runtime.upload(buffer, np.ascontiguousarray(array))
        self._runtime.execute(self._model, 0, self._io)
        results = {tensor.name: np.empty(tensor.shape, _dtype(tensor)) for tensor in self.outputs}
        for array, buffer in zip(results.values(), self._outputs, strict=True):
            self._runtime.download(array, buffer)
        return results

    def close(self) -> None:
        self._undo.close()

    def _allocate(self, undo: ExitStack, tensor: TensorSpec) -> Buffer:
        buffer = self._runtime.malloc(tensor.nbytes)
        undo.callback(self._runtime.free, buffer)
        return buffer


def _dtype(tensor: TensorSpec) -> np.dtype[Any]:
    """Of an output: what a card calls plain 16-bit words are bfloat16, as in layers."""
    return np.dtype("bfloat16" if tensor.dtype in HALF else tensor.dtype)
