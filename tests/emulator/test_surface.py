"""That the emulated surface is pyAXCL's: names, parameters, and what it does with arguments."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backends.emulator import Emulator, OldEmulator
from tests.emulator.card import D2H, malloc, ready, ret

# axcl.rt of pyAXCL V3.10.2: every function a backend could want, and its parameters.
RT = {
    "get_version": "",
    "get_soc_name": "",
    "set_device": "device_id",
    "reset_device": "device_id",
    "get_device": "",
    "get_device_count": "",
    "get_device_list": "",
    "synchronize_device": "",
    "get_device_properties": "device_id",
    "create_context": "device_id",
    "destroy_context": "context",
    "set_current_context": "context",
    "get_current_context": "",
    "get_default_context": "device_id",
    "malloc": "size policy",
    "free": "dev_ptr",
    "memset": "dev_ptr value count",
    "memcpy": "dst_ptr src_ptr count kind",
    "memcmp": "dev_ptr1 dev_ptr2 count",
    "engine_init": "npu_kind",
    "engine_get_vnpu_kind": "",
    "engine_finalize": "",
    "engine_load_from_file": "model_path",
    "engine_load_from_mem": "model model_size",
    "engine_unload": "model_id",
    "engine_get_model_compiler_version": "model_id",
    "engine_set_affinity": "model_id mask",
    "engine_get_affinity": "model_id",
    "engine_get_usage": "model_path",
    "engine_get_usage_from_mem": "model model_size",
    "engine_get_usage_from_mode_id": "model_id",
    "engine_get_model_type": "model_path",
    "engine_get_model_type_from_mem": "model model_size",
    "engine_get_model_type_from_model_id": "model_id",
    "engine_get_io_info": "model_id",
    "engine_destroy_io_info": "io_info",
    "engine_get_shape_groups_count": "io_info",
    "engine_get_num_inputs": "io_info",
    "engine_get_num_outputs": "io_info",
    "engine_get_input_size_by_index": "io_info group index",
    "engine_get_output_size_by_index": "io_info group index",
    "engine_get_input_name_by_index": "io_info index",
    "engine_get_output_name_by_index": "io_info index",
    "engine_get_input_index_by_name": "io_info name",
    "engine_get_output_index_by_name": "io_info name",
    "engine_get_input_dims": "io_info group index",
    "engine_get_output_dims": "io_info group index",
    "engine_get_input_data_type": "io_info index",
    "engine_get_output_data_type": "io_info index",
    "engine_get_input_data_layout": "io_info index",
    "engine_get_output_data_layout": "io_info index",
    "engine_create_io": "io_info",
    "engine_destroy_io": "io",
    "engine_set_input_buffer_by_index": "io index data_buffer size",
    "engine_set_output_buffer_by_index": "io index data_buffer size",
    "engine_set_input_buffer_by_name": "io name data_buffer size",
    "engine_set_output_buffer_by_name": "io name data_buffer size",
    "engine_get_input_buffer_by_index": "io index",
    "engine_get_output_buffer_by_index": "io index",
    "engine_get_input_buffer_by_name": "io name",
    "engine_get_output_buffer_by_name": "io name",
    "engine_create_context": "model_id",
    "engine_execute": "model_id context_id group io",
}


# and what is different in V2.25.0.
OLD_RT = {name: RT[name] for name in RT if name != "get_device_properties"} | {
    "get_device_utilization_rate": "device_id"
}


@pytest.mark.parametrize(("rt", "expected"), [(Emulator().rt, RT), (OldEmulator().rt, OLD_RT)])
def test_names_and_parameters_are_those_of_pyaxcl(rt: object, expected: dict[str, str]) -> None:
    public = {name: getattr(rt, name) for name in dir(rt) if not name.startswith("_")}
    assert {name: " ".join(inspect.signature(call).parameters) for name, call in public.items()} == expected


def test_an_old_library_cannot_tell_its_load_and_says_so_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    card = OldEmulator()
    assert card.init(None) == 0
    assert card.rt.get_version() == (2, 25, 0, 0)
    assert card.rt.get_device_utilization_rate(129) == (0, 0, 0, -1)
    assert card.rt.engine_get_model_compiler_version(0) is None
    assert "undefined symbol" in capsys.readouterr().out


def test_the_module_level_functions_are_those_of_pyaxcl() -> None:
    card = Emulator()
    for name, parameters in {"init": "config", "finalize": "", "set_log_level": "level"}.items():
        assert " ".join(inspect.signature(getattr(card, name)).parameters) == parameters


@pytest.mark.parametrize("null", [0, None, np.int64(0x148000000), 1.5, "pointer"])
def test_a_pointer_that_is_null_or_no_int_makes_no_call(null: Any) -> None:
    card = ready()
    rt, address = card.rt, malloc(card, 64)
    before = card.counters.copy()
    assert rt.free(null) == -1
    assert rt.memset(null, 0, 1) == -1
    assert rt.memcpy(null, address, 8, D2H) == -1
    assert rt.memcpy(address, null, 8, D2H) == -1
    assert rt.memcmp(address, null, 8) == -1
    assert rt.destroy_context(null) == -1
    assert rt.set_current_context(null) == -1
    assert rt.engine_load_from_mem(null, 8) == (0, -1)
    assert rt.engine_get_usage_from_mem(null, 8) == (0, 0, -1)
    assert rt.engine_destroy_io_info(null) == -1
    assert rt.engine_get_shape_groups_count(null) == (0, -1)
    assert rt.engine_get_num_inputs(null) == 0
    assert rt.engine_get_num_outputs(null) == 0
    assert rt.engine_get_input_size_by_index(null, 0, 0) == 0
    assert rt.engine_get_output_name_by_index(null, 0) is None
    assert rt.engine_get_input_index_by_name(null, "input") == -1
    assert rt.engine_get_output_dims(null, 0, 0) == ([], -1)
    assert rt.engine_get_input_data_type(null, 0) == (0, -1)
    assert rt.engine_create_io(null) == (None, -1)
    assert rt.engine_destroy_io(null) == -1
    assert rt.engine_set_input_buffer_by_index(null, 0, address, 8) == -1
    assert rt.engine_get_output_buffer_by_index(null, 0) == (None, 0, -1)
    assert rt.engine_execute(1, 1, 0, null) == -1
    assert not (card.counters - before).round_trips


def test_sizes_and_indices_may_be_numpy_integers_but_no_floats() -> None:
    card = ready()
    address, code = card.rt.malloc(np.int64(64), 0)  # type: ignore[arg-type]
    assert code == 0
    assert address is not None
    assert card.rt.memset(address, np.uint8(1), np.int32(64)) == 0  # type: ignore[arg-type]
    assert card.rt.malloc(64.0, 0) == (None, -1)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["", None, b"layer.axmodel"])
def test_a_path_that_is_empty_or_no_text_makes_no_call(path: Any) -> None:
    card = ready()
    assert card.rt.engine_load_from_file(path) == (0, -1)
    assert card.rt.engine_get_usage(path) == (0, 0, -1)
    assert card.rt.engine_get_model_type(path) == (0, -1)


def test_answers_that_failed_are_not_shared_between_calls() -> None:
    card = ready()
    for call in (card.rt.engine_get_input_dims, card.rt.engine_get_output_dims):
        _spoil(call)
        assert call(0, 0, 0) == ([], -1)


def test_codes_are_signed() -> None:
    assert ready().rt.set_device(1) == -2144337532 == ret(0x80300184)


def test_onnxruntime_is_imported_with_the_first_model_only() -> None:
    program = (
        "import sys; from backends.emulator import Emulator; Emulator(); print('onnxruntime' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


def _spoil(call: Callable[[int, int, int], tuple[list[int], int]]) -> None:
    call(0, 0, 0)[0].append(1)
