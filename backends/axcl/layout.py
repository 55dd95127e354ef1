"""What the shape groups of a layer graph say about the model. Everything is read from the tensors: file and
folder names of published packages are not to be trusted.

A layer graph maps (K_cache, V_cache, indices, input, mask) to (K_cache_out, V_cache_out, output). A group
with one index per row is a decode group; the others prefill `chunk` positions each. The mask is as wide as
the history a group can see plus its own chunk, which also holds where the K/V inputs are a dummy (no
history).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.axcl.rt import Group, Model
from backends.base import PackageError, TensorSpec

HALF = ("bfloat16", "uint16")  # a card may call its bf16 tensors plain 16-bit words
WORD = ("uint32", "int32")
INPUTS = ("K_cache", "V_cache", "indices", "input", "mask")
OUTPUTS = ("K_cache_out", "V_cache_out", "output")


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
    def context_length(self) -> int:
        return self.decode[-1].history

    @property
    def prefill_history(self) -> int:
        """The longest history behind which prefill still works."""
        return self.prefill[-1].history if self.prefill else 0

    @property
    def cache_rows(self) -> int:
        """Rows to allocate: a padded last chunk may write up to one chunk behind the last usable row."""
        return max(self.context_length, max((group.total for group in self.prefill), default=0)) + self.chunk


def read_layout(model: Model) -> LayerLayout:
    """The layout of one layer graph; raises PackageError where it is not the contract's."""
    first = model.groups[0]
    inputs = _indices(model, first.inputs, INPUTS)
    outputs = _indices(model, first.outputs, OUTPUTS)
    for tensor in (*first.inputs, *first.outputs):
        if tensor.dtype not in (WORD if tensor.name == "indices" else HALF):
            raise PackageError(
                f"{model.path.name}: tensor {tensor.name} has the unexpected type {tensor.dtype}"
            )
    groups = [_group(index, group, inputs) for index, group in enumerate(model.groups)]
    decode = tuple(sorted((g for g in groups if g.chunk == 1), key=lambda g: g.history))
    prefill = tuple(sorted((g for g in groups if g.chunk > 1), key=lambda g: g.history))
    if not decode:
        raise PackageError(f"{model.path.name} has no decode group: none of its groups takes one position")
    if len({group.chunk for group in prefill}) > 1:
        chunks = ", ".join(str(group.chunk) for group in prefill)
        raise PackageError(f"{model.path.name} mixes prefill chunks of different sizes: {chunks}")
    kv_dim = first.outputs[outputs["K_cache_out"]].shape[-1]
    return LayerLayout(first.inputs[inputs["input"]].shape[-1], kv_dim, inputs, outputs, decode, prefill)


def check_same(model: Model, first: Model) -> None:
    """Every layer must look like layer 0; raises PackageError naming file, tensor, expected and found."""
    if _names(model) != _names(first):
        raise PackageError(
            f"{model.path.name} has the tensors {', '.join(_names(model))}; "
            f"{first.path.name} has {', '.join(_names(first))}"
        )
    if len(model.groups) != len(first.groups):
        raise PackageError(
            f"{model.path.name} has {len(model.groups)} shape groups, "
            f"{first.path.name} has {len(first.groups)}"
        )
    for index, (found, expected) in enumerate(zip(model.groups, first.groups, strict=True)):
        pairs = zip((*found.inputs, *found.outputs), (*expected.inputs, *expected.outputs), strict=True)
        for ours, theirs in pairs:
            if ours != theirs:
                raise PackageError(
                    f"{model.path.name}, group {index}: {ours.name} is {ours.dtype}{list(ours.shape)}, "
                    f"{first.path.name} has {theirs.name} {theirs.dtype}{list(theirs.shape)}"
                )


def _names(model: Model) -> list[str]:
    return [tensor.name for tensor in (*model.groups[0].inputs, *model.groups[0].outputs)]


def _indices(model: Model, tensors: Sequence[TensorSpec], wanted: Sequence[str]) -> dict[str, int]:
    index = {tensor.name: place for place, tensor in enumerate(tensors)}
    for name in wanted:
        if name not in index:
            raise PackageError(f"{model.path.name} has no tensor {name} (it has {', '.join(index)})")
    return {name: index[name] for name in wanted}


def _group(index: int, group: Group, inputs: Mapping[str, int]) -> LayerGroup:
    positions = group.inputs[inputs["indices"]].shape
    chunk = positions[-1]
    rows = math.prod(positions[:-1])
    total = group.inputs[inputs["mask"]].shape[-1]
    return LayerGroup(index, chunk, total - chunk, rows)
