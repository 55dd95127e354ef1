"""Exported graphs against transformers run now, on more shapes than the golden file keeps."""

from pathlib import Path

import numpy as np
import pytest

from tests.export.cases import CASES, Case, export, patches
from tests.export.expected import golden
from tests.export.reference import expected

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

LOGIT_BOUND = 2.0**-7  # one bf16 step at the size of the largest logit
FEATURE_BOUND = 3e-6  # of the largest feature; fp32 on both sides

SHAPES = {
    "text only, own k/v heads": Case({"kv_heads": 4}, num_pictures=0, seed=1),
    "text only, untied, wide heads, one k/v head": Case(
        {"kv_heads": 1, "head_dim": 32, "tied": False}, num_pictures=0, seed=2
    ),
    "own k/v heads, one level": Case({"kv_heads": 4, "num_deepstack": 1}, seed=3),
    "two heads per k/v head, two levels, untied": Case({"tied": False}, num_pictures=2, seed=4),
    "four heads per k/v head, three levels": Case({"kv_heads": 1, "num_deepstack": 3}, seed=5),
    "own k/v heads, wide": Case({"kv_heads": 4, "head_dim": 32, "num_deepstack": 1}, seed=6),
    "one k/v head, wide, untied": Case(
        {"kv_heads": 1, "head_dim": 32, "tied": False}, num_pictures=2, seed=7
    ),
    "a tall picture": Case(picture_size=(80, 16), seed=8),
    "a picture with more patches than positions": Case(picture_size=(96, 64), seed=9),
    "Qwen2-VL, named as transformers 5 does": Case(
        {"nested": True, "tied": False}, num_pictures=2, seed=11, family="qwen2_vl"
    ),
    "Qwen2-VL, wide heads, wide MLP": Case(
        {"heads": 2, "kv_heads": 1, "mlp_ratio": 3}, picture_size=(16, 80), seed=12, family="qwen2_vl"
    ),
    "Qwen2.5-VL, named as transformers 5 does": Case(
        {"nested": True}, picture_size=(48, 80), seed=13, family="qwen2_5_vl"
    ),
    "Qwen2.5-VL, windows of three by three": Case(
        {"window_size": 56, "full_blocks": (0,)}, picture_size=(64, 112), seed=14, family="qwen2_5_vl"
    ),
    "Qwen2.5-VL, a picture inside one window": Case(
        {"window_size": 112, "full_blocks": ()}, picture_size=(48, 32), seed=15, family="qwen2_5_vl"
    ),
    "as many levels as layers": Case({"layers": 2, "vision_depth": 2, "num_deepstack": 2}, seed=10),
}


@pytest.mark.parametrize("name", SHAPES)
def test_features_and_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    case = SHAPES[name]
    runner = export(case, tmp_path)
    answer = expected(case, tmp_path / "checkpoint")
    seen = (
        runner.see([patches(picture) for picture in case.pictures()])
        if case.num_pictures
        else answer.features
    )
    assert np.abs(seen - answer.features).max(initial=0) <= FEATURE_BOUND * np.abs(answer.features).max(
        initial=0
    )
    hidden = runner.read(case.token_ids(), answer.positions, seen, case.cuts())
    logits = np.stack([runner.logits(row) for row in hidden])
    assert np.abs(logits - answer.logits).max() <= LOGIT_BOUND * np.abs(answer.logits).max()


@pytest.mark.parametrize("name", CASES)
def test_the_golden_file_is_what_transformers_computes(name: str, tmp_path: Path) -> None:
    case, kept = CASES[name], golden(name)
    answer = expected(case, case.write_checkpoint(tmp_path / "checkpoint"))
    np.testing.assert_array_equal(answer.positions, kept.positions)
    np.testing.assert_allclose(answer.features, kept.features, atol=1e-5)
    np.testing.assert_allclose(answer.logits[-2:], kept.logits, atol=0.05)
