"""The wall, where a card fails, is full, or a library answers what cannot be: on the emulated card only."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.axcl.backend import device_for, open_backend
from backends.axcl.package import open_package
from backends.axcl.rt import Runtime
from backends.base import DeviceError, DeviceMemoryError, PackageError
from backends.emulator import Emulator, OldEmulator
from tests.emulator.card import BF16, CHUNK, ROW, ROWS, WIDTH, download, save_model
from tests.packages import text_package

EMULATORS = pytest.mark.parametrize("emulator", [Emulator, OldEmulator])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save_model(tmp_path / "layer.axmodel")


def left(card: Emulator | OldEmulator) -> int:
    return sum(each.memory.free_bytes for each in card._process.cards.values())


@EMULATORS
def test_a_host_without_a_driver_is_said(emulator: Callable[..., Any]) -> None:
    with pytest.raises(DeviceError, match=r"init: AXCL_ERR_DEVICE_OPEN: the driver is .*0x8030010B"):
        Runtime(emulator(devices=()))


def test_settings_that_were_not_read_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Emulator()
    monkeypatch.setattr(card, "init", lambda config: Emulator.init(card, config) or -2144336255)
    runtime = Runtime(card)
    runtime.free(runtime.malloc(16))
    runtime.close()


@EMULATORS
def test_a_card_is_asked_for_its_memory_before_it_has_anything_to_lose(emulator: Callable[..., Any]) -> None:
    """The library resets the device after that, as its source says."""
    card, seen = emulator(), []
    enter = card._process.enter

    def heard(call: str) -> None:
        seen.append(call)
        enter(call)

    card._process.enter = heard
    Runtime(card).close()
    asked = ["get_device_properties"] if emulator is Emulator else []
    assert seen[:5] == ["init", "get_device_list", *asked, "set_device", "create_context", "engine_init"][:5]
    assert seen.count("get_device_properties") == len(asked)


def test_a_driver_that_knows_no_card_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Emulator()
    monkeypatch.setattr(card.rt, "get_device_list", lambda: ([], 0))
    with pytest.raises(DeviceError) as told:
        Runtime(card)
    assert str(told.value) == (
        "get_device_list: there is no card number 0 (none found: see dmesg, and cut the power of the host "
        "once, which a reboot does not)"
    )


def test_an_engine_that_is_initialised_already_will_do() -> None:
    card = Emulator()
    Runtime(card)
    runtime = Runtime(card)
    assert runtime.malloc(16).size == 16
    runtime.close()


def test_an_engine_that_is_partitioned_will_not_do() -> None:
    card = Emulator()
    card.init(None)
    card.rt.set_device(129)
    card.rt.engine_init(2)
    with pytest.raises(DeviceError, match="engine_init: AXCL_ERR_ENGINE_EXECUTE_FAIL"):
        Runtime(card)


@pytest.mark.parametrize("call", ["set_device", "create_context", "engine_init", "get_device_list"])
def test_a_card_that_fails_while_it_is_opened_is_given_back(call: str) -> None:
    card = Emulator()
    card.faults.fail(call, 0x8030040C)
    if call == "engine_init":
        card.faults.fail("engine_get_vnpu_kind", 0x8030040C)
    with pytest.raises(DeviceError, match=f"{call}: AXCL_ERR_TASK_EXECUTE_FAIL: the card does not answer"):
        Runtime(card)
    assert card.rt.get_device_list() == ([], 0)
    Runtime(card).close()


def test_a_card_that_is_gone_is_closed_all_the_same() -> None:
    card = Emulator()
    runtime = Runtime(card)
    card.faults.lose_card()
    with pytest.raises(DeviceError, match=r"malloc: .*does not answer any more \(0x8030040C\)"):
        runtime.malloc(16)
    runtime.close()
    assert card.rt.get_device_list() == ([], 0)


def test_an_old_library_is_never_asked_for_what_it_cannot_tell(capsys: pytest.CaptureFixture[str]) -> None:
    card = OldEmulator()
    runtime = Runtime(card)
    assert (runtime.properties(), runtime.free_bytes, runtime.library_version) == (None, None, "2.25.0")
    runtime.close()
    assert "get_device_utilization_rate" not in card.counters.calls
    assert capsys.readouterr().out == ""


def test_a_library_that_lacks_what_its_pyaxcl_has_cannot_tell_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """pyAXCL 3.10 on a library of V2, and a card that does not carry out the commands behind the call."""
    for size, ret in ((7040, -1), (7040, -2144335604), (0, 0)):
        card = Emulator()
        answer = dict.fromkeys(["total_cmm_size", "free_cmm_size"], size), ret
        monkeypatch.setattr(card.rt, "get_device_properties", lambda _, answer=answer: answer)
        runtime = Runtime(card)
        assert runtime.free_bytes is None
        runtime.free(runtime.malloc(16))
        runtime.close()


def test_what_would_have_been_ruined_is_what_the_bounds_check_saves() -> None:
    card = Emulator()
    runtime = Runtime(card)
    first, second = runtime.malloc(4096), runtime.malloc(4096)
    sent = np.full(4096 + 2, 7, np.uint8)
    with pytest.raises(IndexError):
        runtime.upload(first, sent)
    assert not download(card, second.address, np.zeros(4, np.uint8)).any()
    assert card.rt.memcpy(first.address, sent.ctypes.data, sent.nbytes, 1) == 0
    assert download(card, second.address, np.zeros(4, np.uint8)).tolist() == [7, 7, 0, 0]
    runtime.close()


# --- memory


def test_memory_runs_out_with_a_name() -> None:
    runtime = Runtime(Emulator(cmm_bytes=1 << 16))
    with pytest.raises(DeviceMemoryError, match=r"out of card memory \(CMM\) \(0x8030050C\)"):
        runtime.malloc(1 << 17)
    runtime.close()


def test_memory_that_cannot_be_zeroed_is_given_back() -> None:
    card = Emulator()
    runtime = Runtime(card)
    before = left(card)
    card.faults.fail("memset", 0x80300505)
    with pytest.raises(DeviceError, match="memset: AXCL_ERR_MEMORY_TIMEOUT"):
        runtime.malloc(1 << 20)
    assert left(card) == before == runtime.free_bytes
    runtime.close()


def test_a_model_needs_room_for_its_file_as_well(path: Path) -> None:
    size = -(-path.stat().st_size // 4096) * 4096
    card = Emulator(cmm_bytes=2 * size)
    runtime = Runtime(card)
    buffer = runtime.malloc(1)
    with pytest.raises(DeviceMemoryError, match=r"engine_load_from_file\(layer\.axmodel\): .*0x8030050C"):
        runtime.load(path)
    assert left(card) == runtime.free_bytes == 2 * size - 4096
    runtime.free(buffer)
    runtime.unload(runtime.load(path))
    assert left(card) == runtime.free_bytes == 2 * size
    runtime.close()


# --- models


@pytest.mark.parametrize(
    "call",
    [
        "engine_create_context",
        "engine_get_io_info",
        "engine_get_shape_groups_count",
        "engine_get_input_dims",
        "engine_get_output_data_type",
    ],
)
def test_a_load_that_fails_half_way_gives_the_memory_back(call: str, path: Path) -> None:
    card = Emulator()
    runtime = Runtime(card)
    before = runtime.free_bytes
    card.faults.fail(call, 0x8030040C)
    with pytest.raises(DeviceError, match=rf"layer\.axmodel: {call}: .*the card does not answer any more"):
        runtime.load(path)
    assert runtime.free_bytes == before == left(card)
    described = call not in ("engine_create_context", "engine_get_io_info")
    assert card.counters.calls["engine_destroy_io_info"] == described
    runtime.close()


@pytest.mark.parametrize(
    ("call", "answer", "told"),
    [
        ("engine_load_from_file", (0, 0), "no compiled model that this device takes"),
        ("engine_get_io_info", (None, 0), "engine_get_io_info: it succeeded, and returned nothing"),
        ("engine_get_num_inputs", 0x80300702, "engine_get_num_inputs: AXCL_ERR_ENGINE_NULL_POINTER"),
        ("engine_get_num_outputs", 0x80300702, "engine_get_num_outputs: AXCL_ERR_ENGINE_NULL_POINTER"),
        ("engine_get_input_name_by_index", None, "input 0 has no name"),
        ("engine_get_output_name_by_index", "", "output 0 has no name"),
        ("engine_get_input_data_type", (1, 0), "tensor K_cache has the unknown type 1"),
        ("engine_get_input_dims", ([], -2144336125), "AXCL_ERR_ENGINE_ILLEGAL_PARAM"),
        (
            "engine_get_input_size_by_index",
            128,
            r"tensor K_cache takes 128 bytes, and bfloat16 \[1, 8, 4\] makes 64",
        ),
        ("engine_get_output_size_by_index", 0, "tensor K_cache_out takes 0 bytes"),
    ],
)
def test_an_answer_that_cannot_be_is_an_error_and_the_model_goes(
    call: str, answer: object, told: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Emulator()
    runtime = Runtime(card)
    before = left(card)
    monkeypatch.setattr(card.rt, call, lambda *_: answer)
    with pytest.raises(DeviceError, match=rf"layer\.axmodel.*{told}"):
        runtime.load(path)
    assert left(card) == runtime.free_bytes == before
    runtime.close()


@pytest.mark.parametrize(("call", "method"), [("malloc", "malloc"), ("engine_create_io", "create_io")])
def test_a_pointer_that_is_none_in_spite_of_success_is_an_error(
    call: str, method: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Emulator()
    runtime = Runtime(card)
    model = runtime.load(path)
    monkeypatch.setattr(card.rt, call, lambda *_: (None, 0))
    with pytest.raises(DeviceError, match=f"{call}: it succeeded, and returned nothing"):
        getattr(runtime, method)(16 if method == "malloc" else model)
    runtime.unload(model)
    runtime.close()


def test_a_description_that_cannot_be_destroyed_keeps_no_model_loaded(path: Path) -> None:
    card = Emulator()
    runtime = Runtime(card)
    before, model = left(card), runtime.load(path)
    card.faults.fail("engine_destroy_io_info", 0x80300702)
    runtime.unload(model)
    assert left(card) == before
    runtime.close()


def test_a_fault_of_the_npu_names_call_and_model_and_is_over(path: Path) -> None:
    card = Emulator()
    runtime = Runtime(card)
    model = runtime.load(path)
    io = runtime.create_io(model)
    (group, _) = model.groups
    for place, tensor in enumerate(group.inputs):
        runtime.set_input(io, place, runtime.malloc(tensor.nbytes))
    for place, tensor in enumerate(group.outputs):
        runtime.set_output(io, place, runtime.malloc(tensor.nbytes))
    card.faults.fail("engine_execute", 0x8030070C)
    with pytest.raises(
        DeviceError,
        match=r"engine_execute\(layer\.axmodel, group 0\): AXCL_ERR_ENGINE_EXECUTE_FAIL: .*\(0x8030070C\)",
    ):
        runtime.execute(model, 0, io)
    runtime.execute(model, 0, io)
    runtime.close()


def test_a_model_is_described_as_it_is(path: Path) -> None:
    runtime = Runtime(Emulator())
    model = runtime.load(path)
    shapes = [
        [(tensor.name, tensor.shape, tensor.nbytes) for tensor in (*group.inputs, *group.outputs)]
        for group in model.groups
    ]
    assert shapes[0] == [
        ("K_cache", (1, ROWS, WIDTH), ROWS * ROW),
        ("mask", (1, ROWS, 1), ROWS * 2),
        ("indices", (1, 1), 4),
        ("input", (1, 1, WIDTH), ROW),
        ("K_cache_out", (1, 1, WIDTH), ROW),
        ("output", (1, 1, WIDTH), ROW),
    ]
    assert [tensor[1] for tensor in shapes[1][2:]] == [(1, CHUNK)] + [(1, CHUNK, WIDTH)] * 3
    assert np.dtype(model.groups[0].inputs[0].dtype) == BF16
    runtime.close()


# --- which card


def test_a_package_goes_where_it_was_compiled_for(tmp_path: Path) -> None:
    ours = text_package()
    for_a_card = Path(shutil.copytree(ours.folder, tmp_path / "package"))
    for graph in for_a_card.glob("*.axmodel"):
        graph.write_bytes(b"compiled by somebody else")
    theirs = open_package(for_a_card)
    assert [device_for(package) for package in (ours, theirs)] == ["emulator", "card"]
    assert [device_for(package, "card") for package in (ours, theirs)] == ["card", "card"]
    assert device_for(ours, "emulator") == "emulator"
    with pytest.raises(PackageError, match="package is compiled for a card, and the emulated one cannot run"):
        device_for(theirs, "emulator")


def test_a_card_that_was_asked_for_and_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "axcl", None)
    with pytest.raises(DeviceError, match="pyAXCL cannot be imported"):
        open_backend("card", 0, 1 << 20)
