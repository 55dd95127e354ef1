"""The post graph: final norm and language model head, one hidden row -> logits."""

import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from backends.axcl.layout import HALF, WORD
from backends.axcl.rt import Buffer, Model, Runtime
from backends.axcl.signature import told
from backends.base import Array, Hidden, PackageError, TensorSpec


def read_head(model: Model, hidden_size: int) -> TensorSpec:
    """Which output of a post graph is the row of logits; raises PackageError where there is none.

    `--ret_postnorm` exports have the normalised hidden state beside it, which nobody reads. `--post_topk`
    exports have the k likeliest tokens with their probabilities in its place. Those are refused: penalties,
    biases, top-p and log probabilities need all of them.
    """
    if len(model.groups) != 1 or len(model.groups[0].inputs) != 1:
        raise PackageError(f"{model.path.name} is no post graph: expected one shape group with one input")
    (group,) = model.groups
    (row,) = group.inputs
    if math.prod(row.shape) != hidden_size or row.dtype not in HALF:
        raise PackageError(f"{model.path.name}: {told(row)}, expected {hidden_size} values of bfloat16")
    if any(output.dtype in WORD for output in group.outputs):
        raise PackageError(
            f"{model.path.name} gives the likeliest tokens only ({', '.join(map(told, group.outputs))}), and "
            "sampling needs the logits of all: it has to be compiled without --post_topk"
        )
    rows = [output for output in group.outputs if math.prod(output.shape) != hidden_size] or group.outputs
    if (
        len(rows) != 1
        or math.prod(rows[0].shape) != rows[0].shape[-1]
        or rows[0].dtype not in (*HALF, "float32")
    ):
        raise PackageError(
            f"{model.path.name}: {', '.join(map(told, group.outputs))}, expected one row of logits in "
            "bfloat16 or float32"
        )
    return rows[0]


class Head:
    """Loaded apart from the layers, because only the last chunk of a prompt pays for it."""

    def __init__(self, runtime: Runtime, path: Path, hidden_size: int) -> None:
        self._runtime = runtime
        with ExitStack() as undo:
            self._model = runtime.load(path)
            undo.callback(runtime.unload, self._model)
            logits = read_head(self._model, hidden_size)
            (group,) = self._model.groups
            self.vocab_size = logits.shape[-1]
            self._io = runtime.create_io(self._model)
            undo.callback(runtime.destroy_io, self._io)
            self._row = self._malloc(undo, group.inputs[0].nbytes)
            for index, output in enumerate(group.outputs):
                buffer = self._malloc(undo, output.nbytes)
                runtime.set_output(self._io, index, buffer)
                if output is logits:
                    self._output = buffer
            self._logits = np.empty(self.vocab_size, np.dtype(logits.dtype))
            self._undo = undo.pop_all()

    def close(self) -> None:
        self._undo.close()

    def logits(self, hidden: Hidden, *, chained: bool) -> Array:
        """(vocab,) float32. Chained, the graph reads the row where the last layer left it, else a copy."""
        row = Buffer(hidden, self._row.size)
        if not chained:
            self._runtime.copy(self._row, row)
        self._runtime.set_input(self._io, 0, row if chained else self._row)
        self._runtime.execute(self._model, 0, self._io)
        self._runtime.download(self._logits, self._output)
        if self._logits.dtype.itemsize == 2:
            # bfloat16 is the upper half of a float32, and this is ten times faster than a cast.
            return np.left_shift(self._logits.view(np.uint16), 16, dtype=np.uint32).view(np.float32)
        return self._logits.copy()

    def _malloc(self, undo: ExitStack, size: int) -> Buffer:
        buffer = self._runtime.malloc(size)
        undo.callback(self._runtime.free, buffer)
        return buffer
