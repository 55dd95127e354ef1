from pathlib import Path

import numpy as np
import pytest

from backends.base import Array
from backends.export import ExportError
from backends.export.quantize import Weights, quantise_int4, quantise_int8
from tests.export.cases import CASES, Case, export, exported
from tests.export.expected import golden

CASE = "own k/v heads, three levels, untied, fp16 weights"


def matrix() -> Array:
    channels = np.geomspace(0.01, 10, 48)  # of very different size
    values: Array = (np.random.default_rng(0).standard_normal((64, 48)) * channels).astype(np.float32)
    values[:, 5] = 0
    return values


def test_int8_is_within_half_a_step_of_each_channel() -> None:
    quantised, scales = quantise_int8(matrix())
    assert (quantised.dtype.name, quantised.shape, scales.shape) == ("int8", (64, 48), (1, 48))
    assert (np.abs(quantised * scales - matrix()) <= scales * 0.5001).all()
    assert np.abs(quantised).max(axis=0).tolist() == [127] * 5 + [0] + [127] * 42


def test_int4_is_within_half_a_step_of_each_block() -> None:
    quantised, scales = quantise_int4(matrix())
    assert (quantised.dtype.name, quantised.shape, scales.shape) == ("int4", (2, 32, 48), (2, 1, 48))
    blocks = matrix().reshape(2, 32, 48)
    assert (np.abs(quantised.astype(np.float32) * scales - blocks) <= scales * 0.5001).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    for quantise in (quantise_int8, quantise_int4):
        quantised, scales = quantise(np.zeros((32, 2), np.float16))
        assert not quantised.any()
        assert np.isfinite(scales).all()


@pytest.mark.parametrize(("weights", "least", "most"), [("int8", 0.005, 0.03), ("int4", 0.05, 0.3)])
def test_quantised_logits_stay_close(tmp_path: Path, weights: Weights, least: float, most: float) -> None:
    case, expected = CASES[CASE], golden(CASE)
    runner = export(case, tmp_path, weights=weights)
    hidden = runner.read(case.token_ids(), expected.positions, expected.features, cuts=[15, 30])
    logits = np.stack([runner.logits(row) for row in hidden[-2:]])
    error = np.sqrt(np.mean((logits - expected.logits) ** 2)) / expected.logits.std()
    assert least < error < most  # below `least` nothing would have been quantised


def test_quantised_matrices_take_as_little_room_as_promised(tmp_path: Path) -> None:
    vocab, hidden = 512, 64
    room: dict[Weights, int] = {
        "keep": 2 * vocab * hidden,
        "int8": vocab * hidden + 4 * vocab,
        "int4": vocab * hidden // 2 + 4 * vocab * hidden // 32,
    }
    for weights, num_bytes in room.items():
        file = export(CASES[CASE], tmp_path / weights, weights=weights).post.file
        assert num_bytes < file.stat().st_size < num_bytes + 2000


def test_the_vision_graph_is_not_quantised(tmp_path: Path) -> None:
    kept, quantised = exported(CASE).vision, export(CASES[CASE], tmp_path, weights="int4").vision
    assert kept is not None
    assert quantised is not None
    assert kept.file.read_bytes() == quantised.file.read_bytes()


def test_int4_refuses_inputs_that_do_not_fill_blocks(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"qkv_proj.weight: int4 needs a multiple of 32 inputs, found 48"):
        export(Case({"hidden": 48}), tmp_path, weights="int4")
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]
