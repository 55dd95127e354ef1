from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest

from backends.base import Array
from backends.export.graph import CONTRIB, GraphBuilder
from backends.export.standard import standard

RNG = np.random.default_rng(0)
ROWS, HEADS, SIZE = 5, 3, 8
WIDTH = HEADS * SIZE


def numbers(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def rms_norm(graph: GraphBuilder, value: str) -> None:
    graph.rms_norm(value, numbers(WIDTH), 0.02, "output")


def rope(graph: GraphBuilder, value: str) -> None:
    angles = numbers(ROWS, SIZE // 2)
    cos, sin = graph.constant("cos", np.cos(angles)), graph.constant("sin", np.sin(angles))
    graph.rope(value, cos, sin, "output")


def attention(graph: GraphBuilder, value: str, *more: str) -> None:
    keys = graph.node("Mul", value, graph.constant("key", numbers(WIDTH)), name="keys")
    values = graph.node("Mul", value, graph.constant("value", numbers(WIDTH)), name="values")
    inputs = (value, keys, values, *more)
    graph.node("MultiHeadAttention", *inputs, name="output", domain=CONTRIB, num_heads=HEADS)


def attention_with_a_mask(graph: GraphBuilder, value: str) -> None:
    attention(graph, value, "", "", graph.constant("mask", 3 * numbers(1, 1, ROWS, ROWS)))


def quick_gelu(graph: GraphBuilder, value: str) -> None:
    graph.node("QuickGelu", value, name="output", domain=CONTRIB, alpha=1.702)


def run(model: onnx.ModelProto, value: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    (output,) = session.run(None, {"input": value})
    return np.asarray(output)


def built(build: Callable[[GraphBuilder, str], None]) -> onnx.ModelProto:
    graph = GraphBuilder("test")
    build(graph, graph.input("input", "float32", [1, ROWS, WIDTH]))
    graph.output("output", "float32", [1, ROWS, WIDTH])
    return graph.model()


def half_weights(graph: GraphBuilder, value: str) -> None:
    graph.node(
        "MatMul", value, graph.weight("matrix", numbers(WIDTH, WIDTH).astype(np.float16)), name="output"
    )


FORMS = [rms_norm, rope, attention, attention_with_a_mask, quick_gelu, half_weights]


@pytest.mark.parametrize("build", FORMS)
def test_what_onnxruntime_adds_is_computed_by_onnx_itself(build: Callable[[GraphBuilder, str], None]) -> None:
    model, value = built(build), numbers(1, ROWS, WIDTH)
    plain = standard(model)
    assert {node.domain for node in plain.graph.node} == {""}
    assert all(node.op_type != "Cast" for node in plain.graph.node)
    np.testing.assert_allclose(run(plain, value), run(model, value), atol=2e-6)


def test_an_operator_without_a_translation_is_named() -> None:
    def fused(graph: GraphBuilder, value: str) -> None:
        graph.node("FusedGelu", value, name="output", domain=CONTRIB)

    with pytest.raises(ValueError, match="FusedGelu: expected an operator of ONNX"):
        standard(built(fused))
