"""What the shape groups of a layer graph say about the model. Everything is read from the tensors: file and
folder names of published packages are not to be trusted.

A layer graph maps (K_cache, V_cache, indices, input, mask) to (K_cache_out, V_cache_out, output). A group
with one index per row is a decode group; the others prefill `chunk` positions each. The mask is as wide as
the history a group can see plus its own chunk, which also holds where the K/V inputs are a dummy (no
history).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backends.axcl.handles import Model
from backends.axcl.signature import INPUTS, OUTPUTS, check_attention, check_sizes, ports, told
from backends.base import DecoderInfo, PackageError, TensorSpec

HALF = ("bfloat16", "uint16")  # a card may call its bf16 tensors plain 16-bit words
WORD = ("uint32", "int32")


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """One compiled shape: `chunk` positions per call behind at most `history` cached rows."""

    index: int
    chunk: int
    history: int
    index_rows: int

    @property
    def total(self) -> int:
        return self.history + self.chunk


@dataclass(frozen=True, slots=True)
class LayerLayout:
    """What all layers of one model have in common. Groups are sorted by the history they can see."""

    hidden_size: int
    kv_dim: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    decode: tuple[LayerGroup, ...]
    prefill: tuple[LayerGroup, ...]

    @property
    def chunk(self) -> int:
        return self.prefill[-1].chunk if self.prefill else 1

    @property
    def index_rows(self) -> int:
        return (self.prefill or self.decode)[0].index_rows

    @property
    def context_length(self) -> int:
        """What decode can see: a prompt that only prefill could hold would have no answer."""
        return self.decode[-1].history

    @property
    def prefill_history(self) -> int:
        """The longest history behind which prefill still works."""
        return self.prefill[-1].history if self.prefill else 0

    @property
    def max_prefill(self) -> int:
        """Positions behind nothing that prefill can take one chunk after the other."""
        return min(self.prefill[-1].total, self.context_length) if self.prefill else 0

    @property
    def cache_rows(self) -> int:
        """Rows to allocate: a padded last chunk may write up to one chunk behind the last usable row."""
        return max(self.context_length, max((group.total for group in self.prefill), default=0)) + self.chunk

    def info(self, num_layers: int, vocab_size: int, cache_bytes: int) -> DecoderInfo:
        return DecoderInfo(
            num_layers=num_layers,
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            kv_dim=self.kv_dim,
            context_length=self.context_length,
            prefill_chunk=self.chunk,
            prefill_history=self.prefill_history,
            index_rows=self.index_rows,
            cache_bytes=cache_bytes,
            cache_row_bytes=2 * num_layers * 2 * self.kv_dim,
            decode_rows=self.decode[0].index_rows,
        )


def read_layout(model: Model) -> LayerLayout:
    """The layout of one layer graph; raises PackageError where it is not the contract's."""
    check_sizes(model)
    first = model.groups[0]
    inputs, outputs = ports(model, first.inputs, INPUTS), ports(model, first.outputs, OUTPUTS)
    check_attention(model, inputs, outputs)
    for name, tensor in (*_named(inputs, first.inputs), *_named(outputs, first.outputs)):
        if tensor.dtype not in (WORD if name == "indices" else HALF):
            raise PackageError(
                f"{model.path.name}: tensor {tensor.name} has the unexpected type {tensor.dtype}, "
                f"expected {WORD[0] if name == 'indices' else HALF[0]}"
            )
    num_positions = first.inputs[inputs["indices"]].shape[-1]
    hidden_size = math.prod(first.inputs[inputs["input"]].shape) // num_positions
    kv_dim = math.prod(first.outputs[outputs["K_cache_out"]].shape) // num_positions
    groups = []
    for index, group in enumerate(model.groups):
        tensors = {**dict(_named(inputs, group.inputs)), **dict(_named(outputs, group.outputs))}
        groups.append(_group(f"{model.path.name}, group {index}", index, tensors, hidden_size, kv_dim))
    decode = _sorted(group for group in groups if group.chunk == 1)
    prefill = _sorted(group for group in groups if group.chunk > 1)
    if not decode:
        raise PackageError(f"{model.path.name} has no decode group: none of its groups takes one position")
    if len({group.chunk for group in prefill}) > 1:
        chunks = ", ".join(str(group.chunk) for group in prefill)
        raise PackageError(f"{model.path.name} mixes prefill chunks of different sizes: {chunks}")
    for kind in (decode, prefill):
        if len({group.index_rows for group in kind}) > 1:
            raise PackageError(f"{model.path.name} mixes groups of one and of three index rows")
    return LayerLayout(hidden_size, kv_dim, inputs, outputs, decode, prefill)


def _named(places: Mapping[str, int], tensors: tuple[TensorSpec, ...]) -> list[tuple[str, TensorSpec]]:
    return [(name, tensors[place]) for name, place in places.items()]


def _sorted(groups: Iterable[LayerGroup]) -> tuple[LayerGroup, ...]:
    """By history; of several with the same one, the first."""
    by_history: dict[int, LayerGroup] = {}
    for group in groups:
        by_history.setdefault(group.history, group)
    return tuple(by_history[history] for history in sorted(by_history))


def _group(where: str, index: int, tensors: Mapping[str, TensorSpec], hidden: int, kv_dim: int) -> LayerGroup:
    """`where` names file and group. Indices and mask tell the group; the other tensors must agree with it."""
    positions, mask = tensors["indices"].shape, math.prod(tensors["mask"].shape)
    chunk = positions[-1]
    rows, total = math.prod(positions[:-1]), mask // chunk
    history = total - chunk
    if rows not in (1, 3):
        raise PackageError(f"{where}: indices has {rows} rows of positions, expected 1 or 3")
    if mask % chunk or history < 0:
        raise PackageError(
            f"{where}: {told(tensors['mask'])}, expected {chunk} rows, each as wide as a history and the "
            f"{chunk} positions of a call"
        )
    expected = {
        "input": chunk * hidden,
        "K_cache_out": chunk * kv_dim,
        "V_cache_out": chunk * kv_dim,
        "output": chunk * hidden,
    }
    if history:  # without one they are dummies, and published with the hidden size for a width
        expected |= {"K_cache": history * kv_dim, "V_cache": history * kv_dim}
    for name, number in expected.items():
        if math.prod(tensors[name].shape) != number:
            raise PackageError(
                f"{where}: {told(tensors[name])}, expected {number} values for {chunk} positions behind "
                f"{history} rows"
            )
    return LayerGroup(index, chunk, history, rows)
