"""The post graph: final norm and language model head, one hidden row -> logits."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from backends.axcl.layout import HALF
from backends.axcl.rt import Buffer, Runtime
from backends.base import Array, Hidden, PackageError


class Head:
    """Loaded apart from the layers, because only the last chunk of a prompt pays for it."""

    def __init__(self, runtime: Runtime, path: Path, hidden_size: int) -> None:
        self._runtime = runtime
        with ExitStack() as undo:
            self._model = runtime.load(path)
            undo.callback(runtime.unload, self._model)
            (row,), (logits, *others) = self._model.groups[0].inputs, self._model.groups[0].outputs
            if row.shape[-1] != hidden_size or row.dtype not in HALF or others:
                raise PackageError(
                    f"{path.name} maps {row.dtype}{list(row.shape)} to {1 + len(others)} outputs; "
                    f"expected {hidden_size} values of bfloat16 to one row of logits"
                )
            self.vocab_size = logits.shape[-1]
            self._io = runtime.create_io(self._model)
            undo.callback(runtime.destroy_io, self._io)
            self._row = self._malloc(undo, row.nbytes)
            self._output = self._malloc(undo, logits.nbytes)
            runtime.set_output(self._io, 0, self._output)
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
        if self._logits.dtype == np.dtype(
            "bfloat16"
        ):  # the upper half of a float32, and this is ten times faster
            return np.left_shift(self._logits.view(np.uint16), 16, dtype=np.uint32).view(np.float32)
        return self._logits.astype(np.float32)

    def _malloc(self, undo: ExitStack, size: int) -> Buffer:
        buffer = self._runtime.malloc(size)
        undo.callback(self._runtime.free, buffer)
        return buffer
