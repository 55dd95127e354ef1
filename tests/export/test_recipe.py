import io
import json
import os
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from backends.base import Array, TensorSpec
from backends.export import ExportError, ExportOptions
from backends.export.checkpoint import Checkpoint
from backends.export.package import read_model
from backends.export.recipe import export_recipe
from tests.export.checkpoints import IMAGE_MEAN, IMAGE_STD, tiny_qwen3_vl, tiny_text
from tests.packages import new_folder, no_progress

OPTIONS = ExportOptions(95, 16, (16, 32), image_width=48, image_height=32)
INPUT = TensorSpec("hidden_states", "uint8", (1, 24, 128, 3))
PIXELS = [np.random.default_rng(seed).integers(0, 256, INPUT.shape, np.uint8) for seed in range(2)]


def prepare(prefix: str, graph_input: TensorSpec) -> list[Array]:
    assert (prefix, graph_input) == ("qwen3_vl_text", INPUT)
    return PIXELS


@cache
def recipe() -> Path:
    folder = new_folder()
    export_recipe(tiny_qwen3_vl(folder / "checkpoint"), folder / "recipe", OPTIONS, prepare, no_progress)
    return folder / "recipe"


def run(model: bytes, pixels: Array) -> list[Array]:
    return [np.asarray(each) for each in onnxruntime.InferenceSession(model).run(None, {INPUT.name: pixels})]


def test_the_graph_for_the_compiler_computes_what_the_emulated_one_does() -> None:
    vision = read_model(Checkpoint(recipe().with_name("checkpoint")), OPTIONS).vision
    assert vision is not None
    expected = run(vision.build().model().SerializeToString(), PIXELS[0])
    mean, std = np.array(IMAGE_MEAN, np.float32), np.array(IMAGE_STD, np.float32)
    planes = ((PIXELS[0] / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    found = run((recipe() / "vision.onnx").read_bytes(), planes)
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_compiler_is_told_to_take_pixels_as_the_gateway_prepares_them() -> None:
    config = json.loads((recipe() / "vision.json").read_text())
    (processor,) = config["input_processors"]
    (measured,) = config["quant"]["input_configs"]
    assert processor == {
        "tensor_name": "hidden_states",
        "tensor_format": "RGB",
        "tensor_layout": "NCHW",
        "src_format": "RGB",
        "src_dtype": "U8",
        "src_layout": "NHWC",
    }
    np.testing.assert_allclose(measured["calibration_mean"], 255 * np.array(IMAGE_MEAN), rtol=1e-6)
    np.testing.assert_allclose(measured["calibration_std"], 255 * np.array(IMAGE_STD), rtol=1e-6)


def test_quantisation_is_measured_on_the_prepared_pictures() -> None:
    with tarfile.open(recipe() / "calibration.tar") as archive:
        files = [archive.extractfile(name) for name in archive.getnames()]
        pictures = [np.asarray(Image.open(io.BytesIO(file.read()))) for file in files if file]
    np.testing.assert_array_equal(pictures, [pixels[0] for pixels in PIXELS])


def test_the_script_calls_the_compiler_twice_and_completes_the_package(tmp_path: Path) -> None:
    """With a stand-in for the compiler, which writes down what it was told."""
    compiler = tmp_path / "pulsar2"
    compiler.write_text('#!/bin/sh\necho "$@" >> told\nmkdir -p build\ntouch build/recipe_vision.axmodel\n')
    compiler.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["sh", recipe() / "build.sh"], env={"PATH": path}, check=True, cwd="/")
    checkpoint = recipe().with_name("checkpoint").resolve()
    assert (recipe() / "told").read_text().splitlines() == [
        f"llm_build --input_path {checkpoint} --output_path package --kv_cache_len 95 --prefill_len 16 "
        "--last_kv_cache_len 16 --last_kv_cache_len 32 --chip AX650 --hidden_state_type bf16 --parallel 8",
        "build --input vision.onnx --config vision.json --output_dir build "
        "--output_name recipe_vision.axmodel --target_hardware AX650 --compiler.check 0",
    ]
    assert (recipe() / "package" / "recipe_vision.axmodel").exists()
    config = json.loads((recipe() / "package" / "config.json").read_text())
    assert config["filename_image_encoder_axmodel"] == "recipe_vision.axmodel"


def test_a_language_model_alone_needs_no_pictures(tmp_path: Path) -> None:
    def never(*_: object) -> list[Array]:
        raise AssertionError

    export_recipe(tiny_text(tmp_path / "checkpoint"), tmp_path / "recipe", OPTIONS, never, no_progress)
    assert sorted(file.name for file in (tmp_path / "recipe").iterdir()) == ["build.sh", "package"]


def test_without_pictures_a_vision_graph_cannot_be_quantised(tmp_path: Path) -> None:
    checkpoint = tiny_qwen3_vl(tmp_path / "checkpoint")
    with pytest.raises(ExportError, match="pictures: expected some"):
        export_recipe(checkpoint, tmp_path / "recipe", OPTIONS, lambda *_: [], no_progress)
    assert not (tmp_path / "recipe").exists()
