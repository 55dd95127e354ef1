"""A small builder for ONNX graphs, so that a layer reads like the formula it computes.

Values are passed around by name. Everything inside a graph is fp32: `load` and `weight` bring values in from
other types, `bfloat16` casts them out again.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backends.base import Array

OPSET = 21
IR_VERSION = 10  # onnxruntime 1.31 refuses newer ones
COMPILER = "axgate export 1"
CONTRIB = "com.microsoft"  # onnxruntime's own fused operators

Attribute = str | int | float | Sequence[int]

Shape = Sequence[int | str]
"""Sizes, or names for the sizes that differ between shape groups."""

GroupTensor = dict[str, Any]
"""A tensor as the card reports it: name, dtype, shape."""

Group = Mapping[str, Sequence[GroupTensor]]
"""Inputs and outputs of one shape group."""


class GraphBuilder:
    """Collects nodes in the order they are added; `save` writes them as an emulated .axmodel."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[GroupTensor] = []
        self._outputs: list[GroupTensor] = []

    def node(self, op: str, *inputs: str, name: str, **attributes: Attribute) -> str:
        """Add a node with one output of the same name; `domain` may be among the attributes."""
        return self.nodes(op, *inputs, names=(name,), **attributes)[0]

    def nodes(self, op: str, *inputs: str, names: Sequence[str], **attributes: Attribute) -> Sequence[str]:
        """As `node`, with several outputs; an empty name stands for an optional output nobody reads."""
        self._nodes.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names

    def input(self, name: str, dtype: str, shape: Shape) -> str:
        self._inputs.append(group_tensor(name, dtype, shape))
        return name

    def load(self, name: str, dtype: str, shape: Shape) -> str:
        """An input, read as fp32."""
        return self.float32(self.input(name, dtype, shape))

    def output(self, name: str, dtype: str, shape: Shape) -> None:
        """Make the value `name` an output of the graph."""
        self._outputs.append(group_tensor(name, dtype, shape))

    def constant(self, name: str, array: Array) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, name: str, array: Array) -> str:
        """A constant stored in its own type and read as fp32; the runtime folds the cast when it loads."""
        constant = self.constant(name, array)
        return constant if array.dtype == np.float32 else self.float32(constant)

    def float32(self, value: str) -> str:
        return self.node("Cast", value, name=f"{value}.float32", to=TensorProto.FLOAT)

    def bfloat16(self, value: str, name: str) -> str:
        return self.node("Cast", value, name=name, to=TensorProto.BFLOAT16)

    def reshape(self, value: str, shape: Sequence[int], name: str) -> str:
        return self.node("Reshape", value, self.constant(f"{name}.shape", np.array(shape)), name=name)

    def rms_norm(self, value: str, gain: Array, epsilon: float, name: str) -> str:
        """Over the last axis; gain has its size."""
        weight = self.weight(f"{name}.weight", gain)
        return self.node("SimplifiedLayerNormalization", value, weight, name=name, axis=-1, epsilon=epsilon)

    def rope(self, rows: str, cos: str, sin: str, name: str) -> str:
        """Rotate each head of (1, n, heads * size), one half against the other; cos, sin (n, size / 2)."""
        start = self.constant(f"{name}.start", np.zeros(1, np.int64))
        return self.node("RotaryEmbedding", rows, start, cos, sin, name=name, domain=CONTRIB)

    def model(self) -> onnx.ModelProto:
        """The graph as it stands."""
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [_value_info(**tensor) for tensor in self._inputs],
            [_value_info(**tensor) for tensor in self._outputs],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

    def save(self, file: Path, groups: Sequence[Group] = ()) -> None:
        """Write an emulated .axmodel. `groups` are the shape groups the card reports; none: the graph's own
        sizes."""
        model = self.model()
        own_sizes = {"inputs": self._inputs, "outputs": self._outputs}
        metadata = {"axgate.groups": json.dumps(groups or [own_sizes]), "axgate.compiler": COMPILER}
        helper.set_model_props(model, metadata)
        file.write_bytes(model.SerializeToString())


def group_tensor(name: str, dtype: str, shape: Shape) -> GroupTensor:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def _value_info(name: str, dtype: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
