"""The post graph: final norm and language model head, one hidden row -> logits."""

import math
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from backends.axcl import codes
from backends.axcl.handles import Buffer, Model
from backends.axcl.layout import HALF, WORD
from backends.axcl.rt import Runtime
from backends.axcl.signature import told
from backends.axcl.staging import aligned
from backends.base import Array, DeviceError, Hidden, PackageError, TensorSpec

UNLIKELY = np.float32(-9999)
"""The logit of tokens that a head does not tell. It is finite, so that it can be told and added to."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a post graph gives: one row of logits, or the probabilities of the likeliest tokens and, in `ids`,
    which these are."""

    values: TensorSpec
    ids: TensorSpec | None = None

    def vocab_size(self, num_embeddings: int) -> int:
        """Of a head that tells the likeliest tokens only, the embedding table tells it."""
        return num_embeddings if self.ids else self.values.shape[-1]


def read_head(model: Model, hidden_size: int) -> Answer:
    """Raises PackageError where a post graph is none.

    `--ret_postnorm` exports have the normalised hidden state beside the logits, which nobody reads.
    `--post_topk` exports have the indices and probabilities of the k likeliest tokens in their place (help of
    `pulsar2 llm_build`); what such outputs are called is not known, so they are told by their types.
    """
    if len(model.groups) != 1 or len(model.groups[0].inputs) != 1:
        raise PackageError(f"{model.path.name} is no post graph: expected one shape group with one input")
    (group,) = model.groups
    (row,) = group.inputs
    if math.prod(row.shape) != hidden_size or row.dtype not in HALF:
        raise PackageError(f"{model.path.name}: {told(row)}, expected {hidden_size} values of bfloat16")
    ids = [output for output in group.outputs if output.dtype in WORD]
    values = [output for output in group.outputs if output.dtype not in WORD]
    values = [output for output in values if math.prod(output.shape) != hidden_size] or values
    rows = [*values, *ids]
    if (
        len(values) != 1
        or len(ids) > 1
        or any(math.prod(each.shape) != each.shape[-1] for each in rows)
        or any(each.shape[-1] != rows[0].shape[-1] for each in rows)
        or values[0].dtype not in (*HALF, "float32")
    ):
        raise PackageError(
            f"{model.path.name}: {', '.join(map(told, group.outputs))}, expected one row of logits in "
            "bfloat16 or float32, or as many probabilities as indices of tokens"
        )
    return Answer(values[0], ids[0] if ids else None)


class Head:
    """A loaded post graph, with buffers. It is apart from the layers, because only the last chunk of a prompt
    pays for it."""

    def __init__(self, runtime: Runtime, model: Model, hidden_size: int, num_embeddings: int) -> None:
        self._runtime, self._model = runtime, model
        answer = read_head(model, hidden_size)
        self.vocab_size = answer.vocab_size(num_embeddings)
        (group,) = model.groups
        with ExitStack() as undo:
            self._io = runtime.create_io(model)
            undo.callback(runtime.destroy_io, self._io)
            self._row = self._malloc(undo, group.inputs[0].nbytes)
            # Side by side, so that they come down in one copy.
            ids_at = aligned(answer.values.nbytes) if answer.ids else answer.values.nbytes
            self._host = np.zeros(ids_at + (answer.ids.nbytes if answer.ids else 0), np.uint8)
            self._output = self._malloc(undo, self._host.nbytes)
            places = {answer.values: 0, answer.ids: ids_at}
            for index, output in enumerate(group.outputs):
                if output in places:
                    buffer = self._output.part(places[output], output.nbytes)
                else:
                    buffer = self._malloc(undo, output.nbytes)
                runtime.set_output(self._io, index, buffer)
            self._values = self._host[: answer.values.nbytes].view(np.dtype(answer.values.dtype))
            self._ids = self._host[ids_at:].view(np.int32)
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
        self._runtime.download(self._host, self._output)
        return self._spread(_float32(self._values)) if self._ids.size else _float32(self._values)

    def _spread(self, probabilities: Array) -> Array:
        """The likeliest tokens' logits among those of all."""
        ids = self._ids
        if not (probabilities >= 0).all() or probabilities.max() > 1.01 or not 0 <= ids.min() <= ids.max():
            raise self._odd("no probabilities of tokens")
        if ids.max() >= self.vocab_size:
            raise self._odd(f"token {ids.max()}, and there are {self.vocab_size}")
        logits = np.full(self.vocab_size, UNLIKELY)
        with np.errstate(divide="ignore"):  # of a probability that was rounded to 0
            logits[ids] = np.maximum(np.log(probabilities), UNLIKELY)
        return logits

    def _odd(self, what: str) -> DeviceError:
        return DeviceError(f"engine_execute({self._model.path.name})", codes.SUCCESS, f"it gives {what}")

    def _malloc(self, undo: ExitStack, size: int) -> Buffer:
        buffer = self._runtime.malloc(size)
        undo.callback(self._runtime.free, buffer)
        return buffer


def _float32(values: Array) -> Array:
    """A copy. bfloat16 is the upper half of a float32, and this is ten times faster than a cast."""
    if values.dtype.itemsize == 2:
        return np.left_shift(values.view(np.uint16), 16, dtype=np.uint32).view(np.float32)
    return values.copy()
