"""Which tensors a layer graph has, and whether all layers have the same.

Names and shapes: the published AX650N packages. Names are looked up, never places: exports differ in their
order. Some add the number of a group to each name.
"""

import math
import re
from collections.abc import Mapping, Sequence

from backends.axcl.handles import Model
from backends.base import PackageError, TensorSpec

INPUTS = ("K_cache", "V_cache", "indices", "input", "mask")
OUTPUTS = ("K_cache_out", "V_cache_out", "output")


def ports(model: Model, tensors: Sequence[TensorSpec], wanted: Sequence[str]) -> dict[str, int]:
    """The place of each wanted tensor. Raises PackageError for a graph that has other ones."""
    places: dict[str, int] = {}
    for place, tensor in enumerate(tensors):
        name = tensor.name if tensor.name in wanted else re.sub(r"_\d+$", "", tensor.name)
        if name == "per_layer_input":
            raise PackageError(
                f"{model.path.name} takes an input of its own for each token (per_layer_input), as Gemma 3n "
                "and Gemma 4 do, and this gateway gives a layer nothing but hidden states"
            )
        if name not in wanted or name in places:
            raise PackageError(f"{model.path.name} has a tensor {tensor.name}, expected {', '.join(wanted)}")
        places[name] = place
    for name in wanted:
        if name not in places:
            found = ", ".join(tensor.name for tensor in tensors)
            raise PackageError(f"{model.path.name} has no tensor {name} (it has {found})")
    return {name: places[name] for name in wanted}


def check_sizes(model: Model) -> None:
    """Raises PackageError for a graph of no groups, or with a tensor that has no values."""
    if not model.groups:
        raise PackageError(f"{model.path.name} has no shape groups")
    for index, group in enumerate(model.groups):
        for tensor in (*group.inputs, *group.outputs):
            if not tensor.shape or min(tensor.shape) < 1:
                raise PackageError(
                    f"{model.path.name}, group {index}: {told(tensor)}, expected sizes of at least 1"
                )


def check_attention(model: Model, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
    """Raises PackageError for a linear-attention layer: what it gives back is all of its state, not the rows
    of the positions it was called with."""
    for group in model.groups:
        one_position = math.prod(group.inputs[inputs["input"]].shape[:-1]) == 1
        cache, new = group.inputs[inputs["K_cache"]], group.outputs[outputs["K_cache_out"]]
        if one_position and math.prod(cache.shape[:-1]) > 1 and cache.shape == new.shape:
            raise PackageError(
                f"{model.path.name} keeps a recurrent state (linear attention), as most layers of Qwen3.5 "
                "and MiniCPM-V 4.6 do, and this gateway keeps rows of K and V"
            )


def check_same(model: Model, first: Model) -> None:
    """Every layer must look like layer 0; raises PackageError naming file, tensor, expected and found."""
    check_sizes(model)
    if _names(model) != _names(first):
        raise PackageError(
            f"{model.path.name} has the tensors {', '.join(_names(model))}; "
            f"{first.path.name} has {', '.join(_names(first))}"
        )
    check_attention(
        model, ports(model, model.groups[0].inputs, INPUTS), ports(model, model.groups[0].outputs, OUTPUTS)
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
                    f"{model.path.name}, group {index}: {told(ours)}, expected {told(theirs)} as in "
                    f"{first.path.name}"
                )


def told(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}"


def _names(model: Model) -> list[str]:
    return [tensor.name for tensor in (*model.groups[0].inputs, *model.groups[0].outputs)]
