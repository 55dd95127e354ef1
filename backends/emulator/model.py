"""A loaded `.axmodel` of the emulated card: an ONNX graph, and the static shapes it stands for.

The file's `metadata_props` carry what the card's compiler would know. `axgate.groups` is a JSON list with one
object {"inputs": [...], "outputs": [...]} per shape group; every tensor has {"name", "dtype", "shape"} as in
the contract, and `feed` where the graph takes another shape than the contract shows (the ignored history of
the first prefill group). `axgate.compiler` is a version in free text.
"""

import json
import logging
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import TensorSpec
from backends.emulator.refused import ENGINE_EXECUTE_FAIL, Refused

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

log = logging.getLogger(__name__)

GROUPS = "axgate.groups"
TAIL_BYTES = 1 << 20
"""Metadata are the last that is written to a file."""

# TensorProto.DataType
ONNX_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "int32": 6,
    "float16": 10,
    "uint32": 12,
    "bfloat16": 16,
}


@dataclass(frozen=True, slots=True)
class Tensor(TensorSpec):
    feed: tuple[int, ...]  # what the graph is given; equals `shape` except for dummies


@dataclass(frozen=True, slots=True)
class Group:
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def is_layer(self) -> bool:
        return {"indices", "mask"} <= {tensor.name for tensor in self.inputs}

    @property
    def is_head(self) -> bool:
        """A row of hidden values is all it takes; pixels are never bfloat16."""
        return [tensor.dtype for tensor in self.inputs] == ["bfloat16"]


class Model:
    """One onnxruntime session serves all groups. `source` is a path or the bytes of the file; raises Refused,
    as the card does for a file that its compiler did not make."""

    def __init__(self, source: str | bytes, num_bytes: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
            metadata = self._session.get_modelmeta().custom_metadata_map
            self.groups = tuple(_group(group) for group in json.loads(metadata[GROUPS]))
        except Exception as error:  # those of onnxruntime have nothing in common but this
            log.warning("not a model of the emulated card: %s", error)
            raise Refused(ENGINE_EXECUTE_FAIL) from error
        self.compiler_version: str = metadata.get("axgate.compiler", "")
        self.num_bytes = num_bytes
        self.affinity = 0b111
        self.num_contexts = 0

    def bind(self, group: int) -> "Binding":
        return Binding(self._session, self.groups[group])


def is_emulated(path: Path) -> bool:
    """Whether a file was made for the emulated card, told by its end alone. Raises OSError."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return GROUPS.encode() in stream.read()


class Binding:
    """One group of a model on host addresses: its inputs, then its outputs, by index."""

    def __init__(self, session: "InferenceSession", group: Group) -> None:
        self._session = session
        self._onnx = session.io_binding()
        self._tensors = (*group.inputs, *group.outputs)
        self._num_inputs = len(group.inputs)
        self.sizes = tuple(tensor.nbytes for tensor in self._tensors)

    def set(self, index: int, host: int) -> None:
        tensor = self._tensors[index]
        bind = self._onnx.bind_input if index < self._num_inputs else self._onnx.bind_output
        bind(tensor.name, "cpu", 0, ONNX_TYPES[tensor.dtype], tensor.feed, host)

    def run(self) -> None:
        """In place and without copies: an output may alias an input, as on the card."""
        try:
            self._session.run_with_iobinding(self._onnx)
        except Exception as error:
            log.warning("execute failed: %s", error)
            raise Refused(ENGINE_EXECUTE_FAIL) from error


def _group(group: dict[str, Any]) -> Group:
    return Group(tuple(map(_tensor, group["inputs"])), tuple(map(_tensor, group["outputs"])))


def _tensor(tensor: dict[str, Any]) -> Tensor:
    shape = tuple(map(index, tensor["shape"]))
    if tensor["dtype"] not in ONNX_TYPES:
        raise ValueError(f"tensor {tensor['name']} is of the unknown type {tensor['dtype']}")
    return Tensor(tensor["name"], tensor["dtype"], shape, tuple(tensor.get("feed", shape)))
