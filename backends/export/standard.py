"""Graphs in ONNX's own operators alone, for compilers that do not know those that onnxruntime adds."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from backends.base import Array
from backends.export.graph import CONTRIB


def standard(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same computation without a node of onnxruntime's own. Raises ValueError naming an operator that has
    no translation.

    What the operators compute: onnxruntime 1.31, docs/ContribOperators.md.
    """
    rewrite = _Rewriting(model.graph)
    nodes = [each for node in model.graph.node for each in rewrite.translated(node)]
    # Constants that nobody needs any more go, and new ones come.
    used = {name for node in nodes for name in node.input}
    kept = [each for each in model.graph.initializer if each.name in used]
    graph = helper.make_graph(
        nodes, model.graph.name, model.graph.input, model.graph.output, [*kept, *rewrite.constants]
    )
    opsets = [opset for opset in model.opset_import if opset.domain != CONTRIB]
    plain = helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version)
    rewrite.fill_in_scales(plain)
    onnx.checker.check_model(plain, full_check=True)
    return plain


class _Rewriting:
    """Each node -> the nodes that replace it; `constants` are those the new nodes need. Their names have a
    slash, which no name in the graphs of this package has."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants: list[onnx.TensorProto] = []
        self._known = {each.name: each for each in graph.initializer}
        self._scales: dict[str, str] = {}
        self._translations: dict[str, Callable[[onnx.NodeProto, str], Iterator[onnx.NodeProto]]] = {
            "SimplifiedLayerNormalization": self._rms_norm,
            "RotaryEmbedding": self._rope,
            "MultiHeadAttention": self._attention,
            "QuickGelu": self._quick_gelu,
            "Cast": self._cast,
        }

    def translated(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        if node.op_type not in self._translations:
            if node.domain:
                raise ValueError(
                    f"{node.op_type}: expected an operator of ONNX, or one that can be translated"
                )
            return [node]
        return list(self._translations[node.op_type](node, node.output[0]))

    def fill_in_scales(self, model: onnx.ModelProto) -> None:
        """Attention divides by the square root of a head's size, which shape inference finds out."""
        inferred = shape_inference.infer_shapes(model, strict_mode=True)
        shapes = {each.name: each.type.tensor_type.shape.dim for each in inferred.graph.value_info}
        for constant in model.graph.initializer:
            if (heads := self._scales.get(constant.name)) is not None:
                scale = np.array(shapes[heads][3].dim_value ** -0.5, np.float32)
                constant.CopyFrom(numpy_helper.from_array(scale, constant.name))

    def _constant(self, name: str, array: Array) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def _rms_norm(self, node: onnx.NodeProto, name: str) -> Iterator[onnx.NodeProto]:
        attributes = _attributes(node)
        value, gain = node.input
        epsilon = self._constant(f"{name}/epsilon", np.array(attributes["epsilon"], np.float32))
        axes = self._constant(f"{name}/axes", np.array([-1]))
        yield helper.make_node("Mul", [value, value], [f"{name}/squares"])
        yield helper.make_node("ReduceMean", [f"{name}/squares", axes], [f"{name}/mean"], keepdims=1)
        yield helper.make_node("Add", [f"{name}/mean", epsilon], [f"{name}/above_zero"])
        yield helper.make_node("Sqrt", [f"{name}/above_zero"], [f"{name}/root"])
        yield helper.make_node("Div", [value, f"{name}/root"], [f"{name}/normal"])
        yield helper.make_node("Mul", [f"{name}/normal", gain], [name])

    def _rope(self, node: onnx.NodeProto, name: str) -> Iterator[onnx.NodeProto]:
        """Each head's first half turns against its second half; cos and sin are constants (n, size / 2)."""
        value, _, cos, sin = node.input
        num_rows, half = self._known[cos].dims
        heads = self._constant(f"{name}/heads", np.array([1, num_rows, -1, 2 * half]))
        joined = self._constant(f"{name}/joined", np.array([0, 0, -1]))
        wide = self._constant(f"{name}/wide", np.array([num_rows, 1, half]))
        first, second = f"{name}/first", f"{name}/second"
        yield helper.make_node("Reshape", [value, heads], [f"{name}/split"])
        yield helper.make_node("Split", [f"{name}/split"], [first, second], axis=-1, num_outputs=2)
        for part, source in (("cos", cos), ("sin", sin)):
            yield helper.make_node("Reshape", [source, wide], [f"{name}/{part}"])
        for half_name in (first, second):
            for part in ("cos", "sin"):
                yield helper.make_node("Mul", [half_name, f"{name}/{part}"], [f"{half_name}/{part}"])
        yield helper.make_node("Sub", [f"{first}/cos", f"{second}/sin"], [f"{name}/turned_first"])
        yield helper.make_node("Add", [f"{second}/cos", f"{first}/sin"], [f"{name}/turned_second"])
        turned = [f"{name}/turned_first", f"{name}/turned_second"]
        yield helper.make_node("Concat", turned, [f"{name}/turned"], axis=-1)
        yield helper.make_node("Reshape", [f"{name}/turned", joined], [name])

    def _attention(self, node: onnx.NodeProto, name: str) -> Iterator[onnx.NodeProto]:
        """Queries, keys and values (b, n, heads * size), and perhaps what is added to the scores."""
        num_heads = int(_attributes(node)["num_heads"])
        inputs = [*node.input, *[""] * 6][:6]
        queries, keys, values, bias = (inputs[index] for index in (0, 1, 2, 5))
        heads = self._constant(f"{name}/heads", np.array([0, 0, num_heads, -1]))
        joined = self._constant(f"{name}/joined", np.array([0, 0, -1]))
        scale = self._constant(f"{name}/scale", np.array(0, np.float32))
        self._scales[scale] = f"{name}/queries"
        for part, source, order in (
            ("queries", queries, [0, 2, 1, 3]),
            ("keys", keys, [0, 2, 3, 1]),
            ("values", values, [0, 2, 1, 3]),
        ):
            yield helper.make_node("Reshape", [source, heads], [f"{name}/{part}.heads"])
            yield helper.make_node("Transpose", [f"{name}/{part}.heads"], [f"{name}/{part}"], perm=order)
        yield helper.make_node("MatMul", [f"{name}/queries", f"{name}/keys"], [f"{name}/products"])
        yield helper.make_node("Mul", [f"{name}/products", scale], [f"{name}/scores"])
        scores = f"{name}/scores"
        if bias:
            yield helper.make_node("Add", [scores, bias], [f"{name}/biased"])
            scores = f"{name}/biased"
        yield helper.make_node("Softmax", [scores], [f"{name}/shares"], axis=-1)
        yield helper.make_node("MatMul", [f"{name}/shares", f"{name}/values"], [f"{name}/mixed"])
        yield helper.make_node("Transpose", [f"{name}/mixed"], [f"{name}/rows"], perm=[0, 2, 1, 3])
        yield helper.make_node("Reshape", [f"{name}/rows", joined], [name])

    def _cast(self, node: onnx.NodeProto, name: str) -> Iterator[onnx.NodeProto]:
        """Weights that are stored in a smaller type become constants of the type they are used in."""
        constant = self._known.get(node.input[0])
        if constant is None:
            yield node
            return
        dtype = helper.tensor_dtype_to_np_dtype(int(_attributes(node)["to"]))
        self._constant(name, numpy_helper.to_array(constant).astype(dtype))

    def _quick_gelu(self, node: onnx.NodeProto, name: str) -> Iterator[onnx.NodeProto]:
        alpha = self._constant(f"{name}/alpha", np.array(_attributes(node).get("alpha", 1.702), np.float32))
        yield helper.make_node("Mul", [node.input[0], alpha], [f"{name}/scaled"])
        yield helper.make_node("Sigmoid", [f"{name}/scaled"], [f"{name}/gate"])
        yield helper.make_node("Mul", [node.input[0], f"{name}/gate"], [name])


def _attributes(node: onnx.NodeProto) -> dict[str, float]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}
