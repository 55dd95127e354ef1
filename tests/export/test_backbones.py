"""FastVLM, MobileVLM V2 and DeepSeek-OCR, as exported, against transformers' parts."""

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from backends.base import Array
from backends.export import ExportError, ExportOptions, export_package
from tests.export.backbones import CASES, EDGE, OPTIONS, expected
from tests.export.runner import PackageRunner
from tests.packages import no_progress

GOLDEN = Path(__file__).with_name("golden") / "backbones.npz"
LOGIT_BOUND = 2.0**-7  # one bf16 step at the size of the largest logit
FEATURE_BOUND = 3e-6  # of the largest feature; fp32 on both sides


@cache
def package(name: str) -> Path:
    folder = Path(mkdtemp(prefix="axgate-export-"))
    CASES[name].write_checkpoint(folder / "checkpoint")
    export_package(folder / "checkpoint", folder / "package", OPTIONS, no_progress)
    return folder / "package"


def golden(name: str) -> tuple[Array, Array]:
    with np.load(GOLDEN) as arrays:
        return arrays[f"{name}/features"], arrays[f"{name}/logits"]


def seen(name: str, runner: PackageRunner) -> Array:
    """(1, tokens, hidden) of the case's picture."""
    if runner.vision is None:
        return golden(name)[0]
    return runner.vision.run({"pixel_values": CASES[name].picture()})["output"]


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name: str) -> None:
    runner, ids = PackageRunner(package(name)), CASES[name].token_ids()
    positions = np.arange(len(ids))[np.newaxis]
    cuts = [*range(60, len(ids) - 1, 60), len(ids) - 1]
    hidden = runner.read(ids, positions, seen(name, runner), cuts)
    logits = np.stack([runner.logits(row) for row in hidden[-2:]])
    wanted = golden(name)[1]
    assert np.abs(logits - wanted).max() <= LOGIT_BOUND * np.abs(wanted).max()


def test_mobilevlm_s_features_are_those_of_clip_and_the_published_projector() -> None:
    features = seen("MobileVLM V2", PackageRunner(package("MobileVLM V2")))
    wanted = golden("MobileVLM V2")[0]
    assert features.shape == wanted.shape == (1, 144, 64)
    assert np.abs(features - wanted).max() <= FEATURE_BOUND * np.abs(wanted).max()


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", CASES)
def test_the_golden_file_is_what_transformers_computes(name: str, tmp_path: Path) -> None:
    answer = expected(CASES[name], CASES[name].write_checkpoint(tmp_path / "checkpoint"))
    features, logits = golden(name)
    np.testing.assert_allclose(answer.features, features, atol=1e-5)
    np.testing.assert_allclose(answer.logits[-2:], logits, atol=0.05)


@pytest.mark.parametrize(
    ("name", "prefix", "sees"),
    [
        ("FastVLM, as published", "llava_qwen2", False),
        ("FastVLM, of transformers", "llava_qwen2", False),
        ("MobileVLM V2", "llama", True),
        ("DeepSeek-OCR", "deepseek_vl_v2", False),
    ],
)
def test_layer_files_are_named_as_the_entries_expect(name: str, prefix: str, sees: bool) -> None:
    names = [file.name for file in package(name).glob("*.axmodel")]
    assert f"{prefix}_p64_l0_together.axmodel" in names
    assert any(file.endswith("_vision.axmodel") for file in names) == sees


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (
            "DeepSeek-OCR",
            {"architectures": ["DeepseekVLV2ForCausalLM"]},
            'architectures: expected ["DeepseekOCRForCausalLM"], found ["DeepseekVLV2ForCausalLM"]',
        ),
        (
            "MobileVLM V2",
            {"mm_projector_type": "ldpnet"},
            'mm_projector_type: expected "ldpnetv2", found "ldpnet"',
        ),
        (
            "MobileVLM V2",
            {"mm_vision_select_layer": 0},
            "mm_vision_select_layer: expected an integer below 0, found 0",
        ),
        (
            "MobileVLM V2",
            {"mm_hidden_size": 31},
            "mm_hidden_size: expected the tower's hidden size 32, found 31",
        ),
    ],
)
def test_what_no_graph_computes_is_refused(
    name: str, change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    config = CASES[name].write_checkpoint(tmp_path / "checkpoint") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(ExportError) as error:
        export_package(config.parent, tmp_path / "package", OPTIONS, no_progress)
    assert str(error.value) == f"{config}: {sentence}"


def test_mobilevlm_has_one_size_of_picture(tmp_path: Path) -> None:
    folder = CASES["MobileVLM V2"].write_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(ExportError, match=f"image size 96: expected {EDGE}, the only one of this model"):
        export_package(folder, tmp_path / "package", ExportOptions(image_width=96), no_progress)
