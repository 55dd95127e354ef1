"""Loading models, and what they say of themselves."""

import os
from pathlib import Path

import numpy as np
import pytest

from backends.emulator import Emulator
from backends.emulator.handles import SegmentationFault
from backends.emulator.io_calls import DATA_TYPES
from backends.emulator.model import ONNX_TYPES
from tests.emulator.card import DEVICE, GROUPS, free_cmm, malloc, ready, ret, save_model, upload

PAGE = 4096
ILLEGAL = ret(0x80300703)
FAILED = ret(0x8030070C)
NO_INDEX = ret(0x80300781)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(save_model(tmp_path / "layer.axmodel"))


def load(card: Emulator, path: str) -> int:
    model, code = card.rt.engine_load_from_file(path)
    assert code == 0
    assert model > 0
    return model


def test_the_npu_starts_once_until_it_is_finalized() -> None:
    card = Emulator((DEVICE,), 1 << 20)
    card.init(None)
    card.rt.set_device(DEVICE)
    assert card.rt.engine_get_vnpu_kind() == (0, FAILED)
    assert card.rt.engine_init(2) == 0
    assert card.rt.engine_init(0) == FAILED
    assert card.rt.engine_get_vnpu_kind() == (2, 0)
    assert card.rt.engine_finalize() == 0
    assert card.rt.engine_init(0) == 0


def test_no_model_is_loaded_before_the_npu_is_up(path: str) -> None:
    card = ready()
    card.rt.engine_finalize()
    assert card.rt.engine_load_from_file(path) == (0, FAILED)
    assert free_cmm(card) == 1 << 20


def test_a_missing_model_is_an_illegal_parameter(tmp_path: Path) -> None:
    card = ready()
    for missing in (tmp_path / "missing.axmodel", tmp_path):
        assert card.rt.engine_load_from_file(str(missing)) == (0, ILLEGAL)


def test_an_unreadable_model_loads_successfully_as_number_0(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty.axmodel"
    empty.touch()
    card = ready()
    assert card.rt.engine_load_from_file(str(empty)) == (0, 0)
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may read all
    assert card.rt.engine_load_from_file(path) == (0, 0)
    assert free_cmm(card) == 1 << 20


def test_a_file_that_is_no_model_fails_and_leaves_no_memory_behind(tmp_path: Path) -> None:
    card = ready()
    garbage = tmp_path / "garbage.axmodel"
    garbage.write_bytes(b"garbage" * 1000)
    assert card.rt.engine_load_from_file(str(garbage)) == (0, FAILED)
    assert free_cmm(card) == 1 << 20


def test_a_model_takes_as_much_memory_as_its_file_and_gives_it_back(path: str) -> None:
    card = ready()
    model = load(card, path)
    assert free_cmm(card) == (1 << 20) - PAGE
    assert card.rt.engine_unload(model) == 0
    assert free_cmm(card) == 1 << 20
    assert card.rt.engine_unload(model) == ILLEGAL


def test_loading_a_file_needs_room_for_the_file_and_the_model(tmp_path: Path) -> None:
    path = str(save_model(tmp_path / "layer.axmodel", compiler="x" * 2 * PAGE))  # three pages
    card = ready(cmm_bytes=8 * PAGE)
    first = load(card, path)
    assert card.rt.engine_load_from_file(path) == (0, ret(0x8030050C))
    assert free_cmm(card) == 5 * PAGE
    assert card.rt.engine_unload(first) == 0
    assert free_cmm(card) == 8 * PAGE
    malloc(card, 2 * PAGE)
    load(card, path)


def test_a_model_loads_from_device_memory(path: str) -> None:
    card = ready()
    image = np.fromfile(path, np.uint8)
    address = malloc(card, image.nbytes)
    upload(card, address, image)
    model, code = card.rt.engine_load_from_mem(address, image.nbytes)
    assert code == 0
    assert card.rt.free(address) == 0
    assert card.rt.engine_get_model_compiler_version(model) == "emulated 1.0"
    assert card.rt.engine_load_from_mem(address, 0) == (0, ILLEGAL)


def test_a_model_tells_its_compiler_type_usage_and_affinity(path: str) -> None:
    card = ready()
    model, size = load(card, path), Path(path).stat().st_size
    assert card.rt.engine_get_model_compiler_version(model) == "emulated 1.0"
    assert card.rt.engine_get_model_type(path) == (2, 0)
    assert card.rt.engine_get_model_type_from_mem(0x148000000, size) == (2, 0)
    assert card.rt.engine_get_model_type_from_model_id(model) == (2, 0)
    assert card.rt.engine_get_usage(path) == (0, size, 0)
    assert card.rt.engine_get_usage_from_mem(0x148000000, size) == (0, size, 0)
    assert card.rt.engine_get_usage_from_mode_id(model) == (0, size, 0)
    assert card.rt.engine_get_model_type_from_mem(0x148000000, 0) == (0, -1)
    assert card.rt.engine_get_usage_from_mem(0x148000000, -1) == (0, 0, -1)
    assert card.rt.engine_get_affinity(model) == (0b111, 0)
    assert card.rt.engine_set_affinity(model, 0b001) == 0
    assert card.rt.engine_get_affinity(model) == (0b001, 0)
    assert card.counters.round_trips == {
        "set_device": 1,
        "engine_init": 1,
        "engine_load_from_file": 1,
        "engine_get_model_compiler_version": 1,
        "engine_get_model_type": 1,
        "engine_get_model_type_from_mem": 1,
        "engine_get_model_type_from_model_id": 1,
        "engine_get_usage": 1,
        "engine_get_usage_from_mem": 1,
        "engine_get_usage_from_mode_id": 1,
        "engine_get_affinity": 2,
        "engine_set_affinity": 1,
    }


def test_a_model_that_is_not_loaded_has_nothing_to_tell() -> None:
    card = ready()
    for model in (0, 7):
        assert card.rt.engine_get_model_compiler_version(model) == ""
        assert card.rt.engine_get_io_info(model) == (None, ILLEGAL)
        assert card.rt.engine_create_context(model) == (0, ILLEGAL)
        assert card.rt.engine_unload(model) == ILLEGAL


def test_every_tensor_of_every_group_is_described(path: str) -> None:
    rt = ready().rt
    model, _ = rt.engine_load_from_file(path)
    info, code = rt.engine_get_io_info(model)
    assert code == 0
    assert info is not None
    assert rt.engine_get_shape_groups_count(info) == (2, 0)
    assert (rt.engine_get_num_inputs(info), rt.engine_get_num_outputs(info)) == (4, 2)
    types, item_bytes = {"bfloat16": 14, "uint32": 8}, {"bfloat16": 2, "uint32": 4}
    for group, tensors in enumerate(GROUPS):
        for index, tensor in enumerate(tensors["inputs"]):
            assert rt.engine_get_input_name_by_index(info, index) == tensor["name"]
            assert rt.engine_get_input_index_by_name(info, tensor["name"]) == index
            assert rt.engine_get_input_dims(info, group, index) == (tensor["shape"], 0)
            size = int(np.prod(tensor["shape"])) * item_bytes[tensor["dtype"]]
            assert rt.engine_get_input_size_by_index(info, group, index) == size
            assert rt.engine_get_input_data_type(info, index) == (types[tensor["dtype"]], 0)
            assert rt.engine_get_input_data_layout(info, index) == (0, 0)
        for index, tensor in enumerate(tensors["outputs"]):
            assert rt.engine_get_output_name_by_index(info, index) == tensor["name"]
            assert rt.engine_get_output_index_by_name(info, tensor["name"]) == index
            assert rt.engine_get_output_dims(info, group, index) == (tensor["shape"], 0)
            assert rt.engine_get_output_size_by_index(info, group, index) == int(np.prod(tensor["shape"])) * 2
            assert rt.engine_get_output_data_type(info, index) == (14, 0)
            assert rt.engine_get_output_data_layout(info, index) == (0, 0)


def test_every_type_a_tensor_can_have_is_known_to_the_surface_and_to_the_graphs() -> None:
    assert DATA_TYPES.keys() == ONNX_TYPES.keys()


def test_indices_and_names_that_do_not_exist_are_told_apart(path: str) -> None:
    rt = ready().rt
    model, _ = rt.engine_load_from_file(path)
    info, _ = rt.engine_get_io_info(model)
    assert info is not None
    assert rt.engine_get_input_index_by_name(info, "nobody") == -2144336125
    assert rt.engine_get_output_index_by_name(info, "input") == -2144336125
    assert rt.engine_get_input_name_by_index(info, 4) is None
    assert rt.engine_get_output_name_by_index(info, 2) is None
    assert rt.engine_get_input_dims(info, 0, 4) == ([], NO_INDEX)
    assert rt.engine_get_output_dims(info, 2, 0) == ([], NO_INDEX)
    assert rt.engine_get_input_data_type(info, 4) == (0, ILLEGAL)
    assert rt.engine_get_output_data_layout(info, -1) == (0, ILLEGAL)
    # The library returns its code where a size is expected.
    assert rt.engine_get_input_size_by_index(info, 2, 0) == 0xFFFFFFFF80300781
    assert rt.engine_get_output_size_by_index(info, 0, 2) == 0xFFFFFFFF80300781


def test_the_description_outlives_the_model_until_it_is_destroyed(path: str) -> None:
    rt = ready().rt
    model, _ = rt.engine_load_from_file(path)
    info, _ = rt.engine_get_io_info(model)
    assert info is not None
    rt.engine_unload(model)
    assert rt.engine_get_num_inputs(info) == 4
    assert rt.engine_destroy_io_info(info) == 0
    for stale in (info, 0xDEAD):
        with pytest.raises(SegmentationFault):
            rt.engine_get_num_inputs(stale)
        with pytest.raises(SegmentationFault):
            rt.engine_destroy_io_info(stale)
