import numpy as np
import pytest
from safetensors.numpy import load_file

from backends.base import Array
from backends.export.decoder import QWEN2, QWEN3_VL, DecoderSpec
from backends.export.layer import rope_frequencies
from tests.export.cases import CASES, exported
from tests.export.expected import golden
from tests.export.runner import BF16, MASKED, PackageRunner

STEP = 2.0**-7  # of bf16, relative: logits may differ by one step at the size of the largest


def read(name: str, *cuts: int) -> tuple[PackageRunner, Array]:
    """The package of a case, and the last layer's output after its prompt was read in pieces."""
    runner, case = exported(name), CASES[name]
    expected = golden(name)
    return runner, runner.read(case.token_ids(), expected.positions, expected.features, cuts)


def cache_of(runner: PackageRunner) -> Array:
    return np.stack([np.concatenate(rows, axis=1) for rows in runner.rows])


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(name: str) -> None:
    runner, hidden = read(name, *CASES[name].cuts())
    logits = np.stack([runner.logits(row) for row in hidden[-2:]])
    expected = golden(name).logits
    assert np.abs(logits - expected).max() <= STEP * np.abs(expected).max()


def test_large_chunks_small_chunks_and_decode_steps_see_the_same_keys_and_values() -> None:
    runner, at_once = read("text only", 15, 30)
    cached = cache_of(runner)
    for cuts in ((5, 7, 20, 33), range(1, len(at_once))):
        runner, in_pieces = read("text only", *cuts)
        # Kernels for one row and for many add up in another order, which now and then moves a bf16 by a step.
        assert (cache_of(runner) == cached).mean() > 0.95
        assert (in_pieces == at_once).mean() > 0.95


def layer_inputs(history: int, chunk: int, visible: int, index_rows: int = 1) -> dict[str, Array]:
    """Random inputs of a layer of "grouped heads, two levels"; only the first cache rows are visible."""
    rng = np.random.default_rng(0)
    mask = np.full((1, chunk, history + chunk), MASKED, BF16)
    mask[0, :, :visible] = 0
    mask[0, :, history:][np.tri(chunk, dtype=bool)] = 0
    return {
        "K_cache": rng.standard_normal((1, history, 32)).astype(BF16),
        "V_cache": rng.standard_normal((1, history, 32)).astype(BF16),
        "indices": np.tile(np.arange(visible, visible + chunk, dtype=np.uint32), (index_rows, 1)),
        "input": rng.standard_normal((1, chunk, 64)).astype(BF16),
        "mask": mask,
    }


def test_masked_cache_rows_change_nothing() -> None:
    layer = exported("grouped heads, two levels").layers[0]
    inputs = layer_inputs(history=16, chunk=16, visible=10)
    clean = layer.run(inputs)
    inputs["K_cache"][:, 10:] = 1e4
    inputs["V_cache"][:, 10:] = -1e4
    dirty = layer.run(inputs)
    assert all(np.array_equal(clean[name], dirty[name]) for name in clean)


def test_visible_cache_rows_count() -> None:
    layer = exported("grouped heads, two levels").layers[0]
    inputs = layer_inputs(history=16, chunk=16, visible=10)
    clean = layer.run(inputs)
    inputs["V_cache"][:, 9] += 1
    assert not np.array_equal(layer.run(inputs)["output"], clean["output"])


def test_one_row_of_positions_means_three_equal_ones() -> None:
    layer = exported("grouped heads, two levels").layers[0]
    one = layer.run(layer_inputs(history=16, chunk=16, visible=16, index_rows=1))
    three = layer.run(layer_inputs(history=16, chunk=16, visible=16, index_rows=3))
    assert all(np.array_equal(one[name], three[name]) for name in one)


def test_only_the_new_rows_are_put_out() -> None:
    layer = exported("grouped heads, two levels").layers[0]
    outputs = layer.run(layer_inputs(history=95, chunk=1, visible=3))
    assert {name: (array.dtype.name, array.shape) for name, array in outputs.items()} == {
        "K_cache_out": ("bfloat16", (1, 1, 32)),
        "V_cache_out": ("bfloat16", (1, 1, 32)),
        "output": ("bfloat16", (1, 1, 64)),
    }


def test_the_head_is_a_norm_and_a_product() -> None:
    runner = exported("own k/v heads, three levels, untied, fp16 weights")
    tensors = load_file(runner.post.file.parents[1] / "checkpoint" / "model.safetensors")
    hidden = (np.random.default_rng(0).standard_normal(64) / 5).astype(BF16)
    row = hidden.astype(np.float64)
    normed = row / np.sqrt(np.mean(row**2) + 0.02) * tensors["model.language_model.norm.weight"]
    expected = tensors["lm_head.weight"] @ normed
    assert np.abs(runner.logits(hidden) - expected).max() <= STEP * np.abs(expected).max()


def test_mrope_axes_take_turns_until_their_share_is_used_up() -> None:
    spec = DecoderSpec("", "", 28, 151936, 2048, 6144, 16, 8, 128, 1e-6, 5e6, (24, 20, 20), QWEN3_VL)
    time, row, column = rope_frequencies(spec)
    assert np.flatnonzero(row).tolist() == list(range(1, 60, 3))
    assert np.flatnonzero(column).tolist() == list(range(2, 60, 3))
    assert np.flatnonzero(time).tolist() == [*range(0, 60, 3), 60, 61, 62, 63]
    np.testing.assert_allclose(time + row + column, 5e6 ** (-np.arange(64) / 64), rtol=1e-6)


def test_mrope_axes_of_qwen2_come_one_after_another() -> None:
    spec = DecoderSpec("", "", 28, 151936, 2048, 6144, 16, 2, 128, 1e-6, 1e6, (16, 24, 24), QWEN2)
    axes = [np.flatnonzero(axis).tolist() for axis in rope_frequencies(spec)]
    assert axes == [list(range(16)), list(range(16, 40)), list(range(40, 64))]
