"""A vision graph in the form that the vendor's compiler starts from."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from backends.export.standard import standard
from backends.export.tower import MEAN, NORMAL, STD


@dataclass(frozen=True, slots=True)
class VisionSource:
    """A vision graph of normalised fp32 pixels (1, 3, rows, columns), in ONNX's own operators alone. mean and
    std are of pixels of 0 to 255: the compiled graph is to do that part itself."""

    model: onnx.ModelProto
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def input_name(self) -> str:
        name: str = self.model.graph.input[0].name
        return name


def vision_source(model: onnx.ModelProto) -> VisionSource:
    """Of a vision graph that takes uint8 pixels (1, rows, columns, 3) and normalises them."""
    graph = model.graph
    constants = {each.name: each for each in graph.initializer}
    mean, std = (255 * numpy_helper.to_array(constants[name]).astype(np.float64) for name in (MEAN, STD))
    (pixels,) = graph.input
    _, rows, columns, colours = (each.dim_value for each in pixels.type.tensor_type.shape.dim)
    turned = helper.make_node("Transpose", [pixels.name], [NORMAL], name=NORMAL, perm=[0, 2, 3, 1])
    nodes = [turned, *(node for node in graph.node if NORMAL not in node.output)]
    planes = helper.make_tensor_value_info(pixels.name, TensorProto.FLOAT, [1, colours, rows, columns])
    needed = _needed(nodes, {each.name for each in graph.output})
    cut = helper.make_graph(needed, graph.name, [planes], graph.output, graph.initializer)
    opsets = model.opset_import
    source = standard(helper.make_model(cut, opset_imports=opsets, ir_version=model.ir_version))
    return VisionSource(source, tuple(mean.tolist()), tuple(std.tolist()))


def _needed(nodes: Iterable[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes, in order, that the outputs depend on."""
    kept, wanted = [], set(outputs)
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]
