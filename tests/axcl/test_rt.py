"""The wall: what pyAXCL answers, and what becomes of it."""

from pathlib import Path

import numpy as np
import pytest

from backends.axcl import codes
from backends.axcl.backend import open_backend
from backends.axcl.rt import Buffer, Runtime
from backends.base import DeviceError, DeviceMemoryError
from backends.emulator import Emulator
from tests.packages import vision_package


def test_codes_are_words() -> None:
    assert codes.describe(codes.unsigned(-2144337276)) == (
        "AXCL_ERR_CONTEXT_NO_BIND: the calling thread has no AXCL context"
    )
    assert codes.describe(0x80300383) == "AXCL_ERR_STREAM_SYNC_TIMEOUT"
    assert codes.describe(0x80300105) == "AXCL_ERR_DEVICE_TIMEOUT"
    assert codes.describe(0x80110001) == "an error of the card's own SDK"
    assert codes.describe(codes.unsigned(-1)) == "pyAXCL refused the arguments or swallowed an exception"


def test_a_host_without_a_card_is_said() -> None:
    with pytest.raises(DeviceError, match=r"init: AXCL_ERR_DEVICE_OPEN: the driver is not loaded"):
        Runtime(Emulator(devices=()))


def test_a_card_is_chosen_by_its_place_in_the_list() -> None:
    runtime = Runtime(Emulator(devices=(3, 129)), 1)
    assert runtime.device_id == 129
    runtime.close()
    with pytest.raises(DeviceError, match=r"there is no card number 2 \(2 found: \[3, 129\]\)"):
        Runtime(Emulator(devices=(3, 129)), 2)


def test_an_engine_that_is_initialised_already_will_do() -> None:
    card = Emulator()
    Runtime(card)
    runtime = Runtime(card)
    assert runtime.malloc(16).size == 16
    runtime.close()


def test_memory_is_zeroed_and_copies_arrive() -> None:
    runtime = Runtime(Emulator())
    buffer = runtime.malloc(4096)
    found = np.ones(4096, np.uint8)
    runtime.download(found, buffer)
    assert not found.any()
    sent = np.arange(16, dtype=np.uint8)
    runtime.upload(buffer.part(100, 16), sent)
    runtime.copy(buffer.part(200, 16), buffer.part(100, 16))
    back = np.zeros(16, np.uint8)
    runtime.download(back, buffer.part(200, 16))
    assert (back == sent).all()
    runtime.free(buffer)
    runtime.close()


@pytest.mark.parametrize(("offset", "size"), [(-1, 4), (0, 17), (16, 1), (4, -1)])
def test_what_the_runtime_would_not_notice_is_refused(offset: int, size: int) -> None:
    with pytest.raises(IndexError):
        Buffer(0x1000, 16).part(offset, size)


def test_a_copy_that_would_overrun_is_refused() -> None:
    runtime = Runtime(Emulator())
    small, large = runtime.malloc(16), runtime.malloc(32)
    with pytest.raises(IndexError):
        runtime.upload(small, np.zeros(17, np.uint8))
    with pytest.raises(IndexError):
        runtime.download(np.zeros(17, np.uint8), small)
    with pytest.raises(IndexError):
        runtime.copy(small, large)
    runtime.close()


def test_memory_runs_out_with_a_name() -> None:
    runtime = Runtime(Emulator(cmm_bytes=1 << 16))
    with pytest.raises(DeviceMemoryError, match=r"out of card memory \(CMM\) \(0x8030050C\)"):
        runtime.malloc(1 << 17)
    with pytest.raises(DeviceMemoryError, match="in one piece"):
        runtime.malloc(1 << 32)
    runtime.close()


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    runtime = Runtime(Emulator())
    missing, text = tmp_path / "missing.axmodel", tmp_path / "text.axmodel"
    text.write_text("not a model at all")
    with pytest.raises(DeviceError, match=r"missing\.axmodel.*or the model file is missing"):
        runtime.load(missing)
    with pytest.raises(DeviceError, match=r"text\.axmodel"):
        runtime.load(text)
    runtime.close()


@pytest.mark.parametrize(
    "call", ["engine_create_context", "engine_get_io_info", "engine_get_shape_groups_count"]
)
def test_a_load_that_fails_half_way_gives_the_memory_back(call: str) -> None:
    card = Emulator()
    runtime = Runtime(card)
    before = runtime.free_bytes
    card.faults.fail(call, 0x8030040C)
    with pytest.raises(DeviceError, match="the card does not answer any more"):
        runtime.load(vision_package().post)
    assert runtime.free_bytes == before == card._process.cards[129].memory.free_bytes
    runtime.close()


def test_a_fault_of_the_npu_names_call_and_model() -> None:
    card = Emulator()
    runtime = Runtime(card)
    model = runtime.load(vision_package().post)
    io = runtime.create_io(model)
    with pytest.raises(
        DeviceError, match=r"engine_execute\(qwen3_vl_text_post\.axmodel, group 0\).*0x8030070C"
    ):
        runtime.execute(model, 0, io)
    runtime.destroy_io(io)
    runtime.unload(model)
    runtime.close()


def test_auto_takes_the_emulator_where_there_is_no_card_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    open_backend("auto", 0, 1 << 20).close()
    assert "no card, the emulated one takes its place" in caplog.text
    assert "pyAXCL cannot be imported" in caplog.text


def test_a_card_that_was_asked_for_and_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceError, match="pyAXCL cannot be imported"):
        open_backend("card", 0, 1 << 20)
