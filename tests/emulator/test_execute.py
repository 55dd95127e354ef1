"""Running a model on device memory, and the buffers that say where."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backends.emulator import Emulator
from backends.emulator.handles import SegmentationFault
from tests.emulator.card import (
    BF16,
    CHUNK,
    ROW,
    ROWS,
    WIDTH,
    download,
    malloc,
    ready,
    ret,
    save_model,
    upload,
)

ILLEGAL = ret(0x80300703)
FAILED = ret(0x8030070C)
NULL = ret(0x80300702)

Array = npt.NDArray[Any]


class Layer:
    """The model of `save_model` on a card, each tensor in a buffer that is large enough for both groups."""

    def __init__(self, card: Emulator, path: Path) -> None:
        self.card = card
        self.model, _ = card.rt.engine_load_from_file(str(path))
        self.context, _ = card.rt.engine_create_context(self.model)
        info, _ = card.rt.engine_get_io_info(self.model)
        assert info is not None
        self.info = info
        self.cache, self.mask, self.indices, self.input = (malloc(card, 4096) for _ in range(4))
        self.cache_out, self.output = malloc(card, 4096), malloc(card, 4096)
        self.io = self.new_io()

    def new_io(self) -> int:
        rt = self.card.rt
        io, _ = rt.engine_create_io(self.info)
        assert io is not None
        for index, address in enumerate((self.cache, self.mask, self.indices, self.input)):
            assert rt.engine_set_input_buffer_by_index(io, index, address, 4096) == 0
        for index, address in enumerate((self.cache_out, self.output)):
            assert rt.engine_set_output_buffer_by_index(io, index, address, 4096) == 0
        return io

    def fill(self, cache: Array, mask: Array, indices: Array, inputs: Array) -> None:
        upload(self.card, self.cache, cache)
        upload(self.card, self.mask, mask)
        upload(self.card, self.indices, indices)
        upload(self.card, self.input, inputs)

    def execute(self, group: int) -> int:
        return self.card.rt.engine_execute(self.model, self.context, group, self.io)


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    return Layer(ready(), save_model(tmp_path / "layer.axmodel"))


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(BF16)


def test_the_decode_group_computes_what_numpy_computes(layer: Layer) -> None:
    cache, mask, row = random(ROWS, WIDTH), random(ROWS, 1, seed=1), random(1, WIDTH, seed=2)
    layer.fill(cache, mask, np.array([5], np.uint32), row)
    assert layer.execute(0) == 0
    products = cache.astype(np.float32) * mask.astype(np.float32)
    expected = (row.astype(np.float32) + products.sum(0) + 5).astype(BF16)
    output = download(layer.card, layer.output, row)
    np.testing.assert_allclose(output.astype(np.float32), expected.astype(np.float32), rtol=2**-7)
    assert download(layer.card, layer.cache_out, row).tobytes() == row.tobytes()


def test_the_first_prefill_group_ignores_its_dummy_history(layer: Layer) -> None:
    rows, positions = random(CHUNK, WIDTH), np.array([7, 8, 9], np.uint32)
    poison = np.full((ROWS, WIDTH), np.nan, BF16)
    layer.fill(poison, poison[:, :1].copy(), positions, rows)
    assert layer.execute(1) == 0
    expected = (rows.astype(np.float32) + positions[:, None]).astype(BF16)
    assert download(layer.card, layer.output, rows).tobytes() == expected.tobytes()
    assert download(layer.card, layer.cache_out, rows).tobytes() == rows.tobytes()


def test_an_output_may_be_a_masked_row_of_an_input(layer: Layer) -> None:
    cache, mask, row = random(ROWS, WIDTH), np.ones((ROWS, 1), BF16), random(1, WIDTH, seed=2)
    mask[3:] = 0
    layer.fill(cache, mask, np.array([3], np.uint32), row)
    rt = layer.card.rt
    assert rt.engine_set_output_buffer_by_index(layer.io, 0, layer.cache + 3 * ROW, ROW) == 0
    assert layer.execute(0) == 0
    expected = (row.astype(np.float32) + cache[:3].astype(np.float32).sum(0) + 3).astype(BF16)
    output = download(layer.card, layer.output, row)
    np.testing.assert_allclose(output.astype(np.float32), expected.astype(np.float32), rtol=2**-7)
    cache[3] = row[0]
    assert download(layer.card, layer.cache, cache).tobytes() == cache.tobytes()


def test_a_buffer_that_moves_between_two_executes_is_followed(layer: Layer) -> None:
    zeros = np.zeros((ROWS, WIDTH), BF16)
    layer.fill(zeros, zeros[:, :1].copy(), np.array([0], np.uint32), random(1, WIDTH))
    assert layer.execute(0) == 0
    first = download(layer.card, layer.output, zeros[:1])
    other, moved = malloc(layer.card, ROW), malloc(layer.card, ROW)
    upload(layer.card, other, random(1, WIDTH, seed=9))
    rt = layer.card.rt
    assert rt.engine_set_input_buffer_by_index(layer.io, 3, other, ROW) == 0
    assert rt.engine_set_output_buffer_by_index(layer.io, 1, moved, ROW) == 0
    assert layer.execute(0) == 0
    assert download(layer.card, moved, zeros[:1]).tobytes() == random(1, WIDTH, seed=9).tobytes()
    assert download(layer.card, layer.output, zeros[:1]).tobytes() == first.tobytes()


def test_a_buffer_that_is_too_small_is_accepted_but_does_not_execute(layer: Layer) -> None:
    rt = layer.card.rt
    assert rt.engine_set_input_buffer_by_index(layer.io, 3, layer.input, ROW - 1) == 0
    assert layer.execute(0) == FAILED
    assert rt.engine_set_input_buffer_by_index(layer.io, 3, layer.input, ROW) == 0
    assert layer.execute(0) == 0
    assert layer.execute(1) == FAILED


def test_buffers_that_are_unset_or_not_on_the_card_do_not_execute(layer: Layer) -> None:
    rt = layer.card.rt
    host = np.zeros(64, np.uint8)
    assert rt.engine_set_output_buffer_by_index(layer.io, 1, host.ctypes.data, 64) == 0
    assert layer.execute(0) == FAILED
    empty, _ = rt.engine_create_io(layer.info)
    assert empty is not None
    assert rt.engine_execute(layer.model, layer.context, 0, empty) == FAILED


def test_null_buffers_empty_ones_and_indices_that_do_not_exist_are_refused(layer: Layer) -> None:
    rt, io = layer.card.rt, layer.io
    for setter in (rt.engine_set_input_buffer_by_index, rt.engine_set_output_buffer_by_index):
        assert setter(io, 0, 0, 64) == NULL
        assert setter(io, 0, None, 64) == NULL  # type: ignore[arg-type]
        assert setter(io, 0, np.int64(layer.cache), 64) == -1  # type: ignore[arg-type]
        assert setter(io, 0, layer.cache, 0) == ILLEGAL
        assert setter(io, 4, layer.cache, 64) == ILLEGAL
        assert setter(io, -1, layer.cache, 64) == ILLEGAL
    assert rt.engine_get_input_buffer_by_index(io, 4) == (None, 0, ILLEGAL)
    assert rt.engine_get_output_buffer_by_index(io, 2) == (None, 0, ILLEGAL)
    assert rt.engine_get_input_buffer_by_index(io, 0) == (layer.cache, 4096, 0)


def test_what_is_set_by_name_lands_on_index_0_whatever_the_name(layer: Layer) -> None:
    rt = layer.card.rt
    io, _ = rt.engine_create_io(layer.info)
    assert io is not None
    assert rt.engine_get_input_buffer_by_name(io, "input") == (None, 0, 0)
    assert rt.engine_set_input_buffer_by_name(io, "input", layer.input, 64) == 0
    assert rt.engine_set_output_buffer_by_name(io, "nobody", layer.output, 32) == 0
    assert rt.engine_get_input_buffer_by_index(io, 0) == (layer.input, 64, 0)
    assert rt.engine_get_input_buffer_by_index(io, 3) == (None, 0, 0)
    assert rt.engine_get_input_buffer_by_name(io, "nobody") == (layer.input, 64, 0)
    assert rt.engine_get_output_buffer_by_name(io, "output") == (layer.output, 32, 0)


def test_groups_contexts_and_models_that_do_not_fit_the_io_are_refused(layer: Layer, tmp_path: Path) -> None:
    other = Layer(layer.card, save_model(tmp_path / "other.axmodel"))
    execute = layer.card.rt.engine_execute
    assert execute(layer.model, layer.context, 2, layer.io) == ILLEGAL
    assert execute(layer.model, 0, 0, layer.io) == ILLEGAL
    assert execute(layer.model, layer.context + 1, 0, layer.io) == ILLEGAL
    assert execute(0, layer.context, 0, layer.io) == ILLEGAL
    assert execute(other.model, other.context, 0, layer.io) == ILLEGAL
    assert layer.card.rt.engine_unload(other.model) == 0
    assert execute(other.model, other.context, 0, other.io) == ILLEGAL
    assert execute(layer.model, layer.context, 0, layer.io) == 0


def test_a_graph_that_cannot_compute_its_inputs_fails_on_the_card(tmp_path: Path) -> None:
    path = save_model(tmp_path / "layer.axmodel")
    # K_cache with 4 rows and a mask with 8 do not multiply.
    path.write_bytes(path.read_bytes().replace(b'"shape": [1, 8, 4]', b'"shape": [1, 4, 4]'))
    assert Layer(ready(), path).execute(0) == FAILED


def test_an_io_that_was_destroyed_is_fatal(layer: Layer) -> None:
    assert layer.card.rt.engine_destroy_io(layer.io) == 0
    for stale in (layer.io, 0xDEAD):
        with pytest.raises(SegmentationFault):
            layer.card.rt.engine_execute(layer.model, layer.context, 0, stale)
        with pytest.raises(SegmentationFault):
            layer.card.rt.engine_destroy_io(stale)
