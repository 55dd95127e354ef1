"""The wall, on whatever answers as pyAXCL: nothing here knows of the emulated card.

`pytest --axcl=real tests/axcl/test_rt.py` runs it on the pyAXCL that is installed.
"""

import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.axcl.handles import PAGE, Buffer
from backends.axcl.installed import log_file
from backends.axcl.rt import D2D, D2H, H2D, MALLOC_HUGE_FIRST, MAX_TRANSFER, VNPU_DISABLE, Runtime
from backends.base import Array, DeviceError, DeviceMemoryError, PackageError


class Heard:
    """An `axcl` that remembers the names of its calls."""

    def __init__(self, axcl: Any) -> None:
        self._axcl = axcl
        self.config = ""
        self.names: list[str] = []
        self.rt = _HeardCalls(axcl.rt, self.names)

    def init(self, config: str) -> int:
        self.names.append("init")
        self.config = config
        return int(self._axcl.init(config))

    def finalize(self) -> int:
        self.names.append("finalize")
        return int(self._axcl.finalize())


class _HeardCalls:
    def __init__(self, rt: Any, names: list[str]) -> None:
        self._rt, self._names = rt, names

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._rt, name)

        def heard(*args: Any) -> Any:
            self._names.append(name)
            return call(*args)

        return heard


# All that the wall may use: it is in every version (axcl/rt/__init__.py of V2.25.0 and V3.10.2), but for one.
SHARED = {
    "create_context",
    "destroy_context",
    "engine_create_context",
    "engine_create_io",
    "engine_destroy_io",
    "engine_destroy_io_info",
    "engine_execute",
    "engine_finalize",
    "engine_get_input_data_type",
    "engine_get_input_dims",
    "engine_get_input_name_by_index",
    "engine_get_input_size_by_index",
    "engine_get_io_info",
    "engine_get_num_inputs",
    "engine_get_num_outputs",
    "engine_get_output_data_type",
    "engine_get_output_dims",
    "engine_get_output_name_by_index",
    "engine_get_output_size_by_index",
    "engine_get_shape_groups_count",
    "engine_get_vnpu_kind",
    "engine_init",
    "engine_load_from_file",
    "engine_set_input_buffer_by_index",
    "engine_set_output_buffer_by_index",
    "engine_unload",
    "free",
    "get_device_list",
    "get_version",
    "malloc",
    "memcpy",
    "memset",
    "reset_device",
    "set_current_context",
    "set_device",
}


def downloaded(runtime: Runtime, buffer: Buffer) -> Array:
    found = np.empty(buffer.size, np.uint8)
    runtime.download(found, buffer)
    return found


def in_another_thread(call: Callable[[], object]) -> object:
    found: list[object] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_every_call_of_the_wall_is_there(axcl: Any) -> None:
    assert {name for name in SHARED if not callable(getattr(axcl.rt, name, None))} == set()


def test_our_constants_are_those_of_pyaxcl(axcl: Any) -> None:
    ours = {
        "AXCL_MEM_MALLOC_HUGE_FIRST": MALLOC_HUGE_FIRST,
        "AXCL_MEMCPY_HOST_TO_DEVICE": H2D,
        "AXCL_MEMCPY_DEVICE_TO_HOST": D2H,
        "AXCL_MEMCPY_DEVICE_TO_DEVICE": D2D,
        "AXCL_VNPU_DISABLE": VNPU_DISABLE,
    }
    assert {name: getattr(axcl.rt, name, value) for name, value in ours.items()} == ours


def test_the_card_is_opened_and_closed_in_order(axcl: Any) -> None:
    heard = Heard(axcl)
    runtime = Runtime(heard)
    opened = [name for name in heard.names if name not in ("get_device_properties", "set_current_context")]
    assert opened == ["init", "get_device_list", "set_device", "create_context", "engine_init"]
    heard.names.clear()
    runtime.close()
    assert heard.names == ["engine_finalize", "destroy_context", "reset_device", "finalize"]
    heard.names.clear()
    runtime.close()
    assert heard.names == []


def test_the_library_is_told_in_json_to_log_where_this_user_may_write(axcl: Any) -> None:
    heard = Heard(axcl)
    Runtime(heard).close()
    host = json.loads(heard.config)["log"]["host"]
    assert heard.config.startswith("{")
    assert host == {"path": str(log_file()), "level": 3}
    assert str(os.getuid()) in log_file().name


def test_a_card_that_was_closed_can_be_opened_again(axcl: Any) -> None:
    for _ in range(3):
        runtime = Runtime(axcl)
        runtime.free(runtime.malloc(16))
        runtime.close()


def test_a_card_is_chosen_by_its_place_in_the_list(axcl: Any) -> None:
    heard: list[int] = []
    for place in range(2):
        try:
            runtime = Runtime(axcl, place)
        except DeviceError:
            break
        devices, _ = axcl.rt.get_device_list()
        assert runtime.device_id == devices[place]
        heard.append(runtime.device_id)
        runtime.close()
    assert heard
    with pytest.raises(DeviceError, match=rf"there is no card number 99 \({len(devices)} found: \[.+\]\)"):
        Runtime(axcl, 99)
    with pytest.raises(DeviceError, match="there is no card number -1"):
        Runtime(axcl, -1)


def test_a_card_that_is_not_there_leaves_the_library_closed(axcl: Any) -> None:
    heard = Heard(axcl)
    with pytest.raises(DeviceError):
        Runtime(heard, 99)
    assert heard.names == ["init", "get_device_list", "finalize"]


def test_a_runtime_belongs_to_its_thread(runtime: Runtime) -> None:
    calls: list[Callable[[], object]] = [
        lambda: runtime.malloc(16),
        runtime.properties,
        runtime.close,
        lambda: runtime.set_input(0, 0, Buffer(0x1000, 16)),
    ]
    for call in calls:
        assert isinstance(in_another_thread(call), RuntimeError)
    runtime.free(runtime.malloc(16))


def test_a_runtime_that_is_closed_calls_nothing(axcl: Any) -> None:
    heard = Heard(axcl)
    runtime = Runtime(heard)
    buffer = runtime.malloc(16)
    runtime.close()
    heard.names.clear()
    calls: list[Callable[[], object]] = [
        lambda: runtime.malloc(16),
        lambda: runtime.free(buffer),
        lambda: runtime.upload(buffer, np.zeros(16, np.uint8)),
        runtime.properties,
        lambda: runtime.library_version,
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="until it is closed"):
            call()
    assert heard.names == []


def test_the_library_says_its_version(runtime: Runtime) -> None:
    assert runtime.library_version is not None
    assert len(runtime.library_version.split(".")) == 3


def test_a_card_that_tells_of_itself_is_still_bound(runtime: Runtime) -> None:
    properties = runtime.properties()
    assert (properties is None) == (runtime.free_bytes is None)
    if properties is not None:
        assert 0 < properties["free_cmm_size"] <= properties["total_cmm_size"]
    runtime.free(runtime.malloc(16))


# --- memory


def test_memory_is_zeroed_and_copies_arrive(runtime: Runtime) -> None:
    buffer = runtime.malloc(PAGE)
    runtime.upload(buffer, np.full(PAGE, 0xFF, np.uint8))
    runtime.free(buffer)
    buffer = runtime.malloc(PAGE)
    assert not downloaded(runtime, buffer).any()
    sent = np.arange(16, dtype=np.uint8)
    runtime.upload(buffer.part(100, 16), sent)
    runtime.copy(buffer.part(200, 16), buffer.part(100, 16))
    expected = np.zeros(PAGE, np.uint8)
    expected[100:116] = expected[200:216] = sent
    assert (downloaded(runtime, buffer) == expected).all()
    runtime.free(buffer)


def test_offsets_may_be_numpy_integers(runtime: Runtime) -> None:
    """Which pyAXCL takes for no pointers, without a word."""
    buffer = runtime.malloc(64)
    runtime.upload(buffer.part(np.int64(8), np.int64(8)), np.full(8, 7, np.uint8))  # type: ignore[arg-type]
    assert downloaded(runtime, buffer.part(8, 8)).tolist() == [7] * 8
    runtime.free(buffer)
    with pytest.raises(TypeError):
        buffer.part(8.0, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(("offset", "size"), [(-1, 4), (0, 17), (16, 1), (4, -1)])
def test_what_the_runtime_would_not_notice_is_refused(offset: int, size: int) -> None:
    with pytest.raises(IndexError):
        Buffer(0x1000, 16).part(offset, size)


def test_a_copy_that_would_overrun_makes_no_call(axcl: Any) -> None:
    heard = Heard(axcl)
    runtime = Runtime(heard)
    small, large = runtime.malloc(PAGE), runtime.malloc(2 * PAGE)
    heard.names.clear()
    with pytest.raises(IndexError):
        runtime.upload(small, np.ones(PAGE + 1, np.uint8))
    with pytest.raises(IndexError):
        runtime.download(np.zeros(PAGE + 1, np.uint8), small)
    with pytest.raises(IndexError):
        runtime.copy(small, large)
    assert heard.names == []
    assert not downloaded(runtime, large).any()
    runtime.close()


NEAR_THE_END = st.integers(PAGE - 24, PAGE + 8)
MOVES = st.tuples(st.sampled_from(["up", "down", "across"]), NEAR_THE_END, NEAR_THE_END, st.integers(0, 32))


@given(st.lists(MOVES, max_size=20))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_copied_nobody_else_is_touched(
    runtime: Runtime, moves: list[tuple[str, int, int, int]]
) -> None:
    """Two buffers, of which the card may have made neighbours, as they should be and as they are."""
    buffers = runtime.malloc(PAGE), runtime.malloc(PAGE)
    expected = [np.zeros(PAGE, np.uint8) for _ in buffers]
    for number, (move, to, begin, size) in enumerate(moves, 1):
        (target, source), fits = buffers, max(to, begin if move == "across" else 0) + size <= PAGE
        sent = np.full(size, number, np.uint8)
        try:
            if move == "up":
                runtime.upload(target.part(to, size), sent)
                expected[0][to : to + size] = sent
            elif move == "down":
                runtime.download(sent, target.part(to, size))
                assert (sent == expected[0][to : to + size]).all()
            else:
                runtime.copy(target.part(to, size), source.part(begin, size))
                expected[0][to : to + size] = expected[1][begin : begin + size]
        except IndexError:
            assert not fits
        else:
            assert fits
        buffers, expected = buffers[::-1], expected[::-1]
    for buffer, content in zip(buffers, expected, strict=True):
        assert (downloaded(runtime, buffer) == content).all()
        runtime.free(buffer)


def test_only_contiguous_arrays_are_copied_and_none_that_is_read_only_is_written(runtime: Runtime) -> None:
    buffer, grid = runtime.malloc(64), np.zeros((8, 8), np.uint8)
    with pytest.raises(ValueError, match="contiguous"):
        runtime.upload(buffer, grid[:, :4])
    with pytest.raises(ValueError, match="contiguous"):
        runtime.download(grid.T[:4], buffer)
    grid.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        runtime.download(grid, buffer)
    runtime.upload(buffer, grid)
    runtime.free(buffer)


def test_nothing_is_copied_without_a_call(axcl: Any) -> None:
    heard = Heard(axcl)
    runtime = Runtime(heard)
    buffer = runtime.malloc(16)
    heard.names.clear()
    runtime.upload(buffer, np.zeros(0, np.uint8))
    runtime.download(np.zeros(0, np.uint8), buffer)
    runtime.copy(buffer, buffer.part(16, 0))
    assert heard.names == []
    runtime.close()


@pytest.mark.parametrize("size", [0, -1, MAX_TRANSFER + 1])
def test_memory_that_the_library_would_take_for_another_size_is_refused(runtime: Runtime, size: int) -> None:
    with pytest.raises(DeviceMemoryError, match="in one piece"):
        runtime.malloc(size)


def test_only_the_beginning_of_an_allocation_is_freed(runtime: Runtime) -> None:
    buffer = runtime.malloc(PAGE)
    with pytest.raises(DeviceError, match=r"free: AXCL_ERR_MEMORY_NOT_DEVICE_MEMORY.*\(0x80300581\)"):
        runtime.free(buffer.part(128, 128))
    runtime.free(buffer)


# --- models


def test_a_file_that_cannot_be_loaded_is_told_with_what_is_wrong(runtime: Runtime, tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.axmodel", tmp_path / "text.axmodel"
    empty.touch()
    text.write_text("not a model at all" * 100)
    with pytest.raises(PackageError, match=r"missing\.axmodel cannot be read: No such file or directory"):
        runtime.load(tmp_path / "missing.axmodel")
    with pytest.raises(PackageError, match="cannot be read: Is a directory"):
        runtime.load(tmp_path)
    for file in (empty, text):
        with pytest.raises(DeviceError, match=rf"engine_load_from_file\({file.name}\): "):
            runtime.load(file)


def test_a_name_that_pyaxcl_cannot_encode_is_told(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="UTF-8"):
        runtime.load(tmp_path / "layer\udcff.axmodel")


def test_a_file_of_4_gib_is_not_handed_over(runtime: Runtime, tmp_path: Path) -> None:
    large = tmp_path / "large.axmodel"
    with large.open("wb") as file:
        file.truncate(MAX_TRANSFER + 1)
    with pytest.raises(PackageError, match=r"large\.axmodel has 4294967296 bytes.*4 GiB"):
        runtime.load(large)


def test_a_model_runs_on_its_buffers_and_gives_all_back(axcl: Any, model_file: Path) -> None:
    heard = Heard(axcl)
    runtime = Runtime(heard)
    free_bytes = runtime.free_bytes
    model = runtime.load(model_file)
    assert model.groups
    for number, group in enumerate(model.groups):
        io = runtime.create_io(model)
        buffers = []
        for side, bind in ((group.inputs, runtime.set_input), (group.outputs, runtime.set_output)):
            for place, tensor in enumerate(side):
                assert tensor.name
                assert tensor.nbytes > 0
                buffers.append(runtime.malloc(tensor.nbytes))
                bind(io, place, buffers[-1])
        runtime.execute(model, number, io)
        for buffer in buffers:
            runtime.free(buffer)
        runtime.destroy_io(io)
    runtime.unload(model)
    assert runtime.free_bytes == free_bytes
    runtime.close()
    assert set(heard.names) - {"init", "finalize", "get_device_properties"} <= SHARED


def test_a_model_whose_buffers_are_not_set_does_not_run(runtime: Runtime, model_file: Path) -> None:
    model = runtime.load(model_file)
    io = runtime.create_io(model)
    with pytest.raises(
        DeviceError, match=rf"engine_execute\({re.escape(model_file.name)}, group 0\): \w+.* \(0x8"
    ):
        runtime.execute(model, 0, io)
    runtime.destroy_io(io)
    runtime.unload(model)
