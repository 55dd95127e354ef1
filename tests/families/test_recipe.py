"""Every family's vision graph for the vendor's compiler computes what the emulated card's computes."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from backends.base import Array
from backends.export.checkpoint import Checkpoint
from backends.export.package import read_model
from backends.export.source import vision_source
from tests.families.cases import CASES
from tests.families.path import checkpoint

# Packages of patches are encoded by a graph without pixels, which the compiler takes as it is.
PIXELS = [name for name, case in CASES.items() if case.entry["family"] != "smolvlm_patches"]


def run(model: onnx.ModelProto, pixels: Array) -> Array:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate(
        [each.ravel() for each in session.run(None, {session.get_inputs()[0].name: pixels})]
    )


@pytest.mark.parametrize("name", PIXELS)
def test_the_graph_for_the_compiler_computes_the_same(name: str) -> None:
    options = replace(CASES[name].options, vision_input="u8-nhwc")
    vision = read_model(Checkpoint(checkpoint(name)), options).vision
    assert vision is not None
    emulated = vision.build().model()
    shape = [each.dim_value for each in emulated.graph.input[0].type.tensor_type.shape.dim]
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    source = vision_source(emulated)
    planes = (
        ((pixels - np.array(source.mean)) / np.array(source.std)).astype(np.float32).transpose(0, 3, 1, 2)
    )
    wanted = run(emulated, pixels)
    assert {node.domain for node in source.model.graph.node} == {""}
    assert np.abs(run(source.model, planes) - wanted).max() <= 1e-4 * np.abs(wanted).max()
