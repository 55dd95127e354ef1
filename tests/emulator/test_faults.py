"""Faults that a test has planned happen, to the call it named, and then no more."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from backends.emulator import Emulator
from tests.emulator.card import D2H, DEVICE, H2D, download, malloc, ready, ret, save_model

PATIENCE_S = 10.0


def start(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    answers: list[object] = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()
    return thread, answers


def test_the_planned_call_fails_with_the_planned_code_and_does_nothing() -> None:
    card = ready()
    address = malloc(card, 8)
    card.rt.memset(address, 0, 8)
    card.faults.fail("memset", 0x8030050C, nth=2)
    assert card.rt.memset(address, 1, 1) == 0
    assert card.rt.memset(address, 2, 8) == ret(0x8030050C)
    assert download(card, address, np.zeros(2, np.uint8)).tolist() == [1, 0]
    assert card.rt.memset(address, 3, 8) == 0


def test_calls_of_other_names_are_spared_and_several_faults_may_wait() -> None:
    card = Emulator((DEVICE,), 1 << 20)
    card.faults.fail("init", 0x8030010B)
    card.faults.fail("malloc", 0x8030050C)
    card.faults.fail("malloc", 0x8030040C, nth=2)
    assert card.init(None) == ret(0x8030010B)
    assert card.init(None) == 0
    assert card.rt.set_device(DEVICE) == 0
    assert card.rt.malloc(8, 0) == (None, ret(0x8030050C))
    assert card.rt.malloc(8, 0) == (None, ret(0x8030040C))
    assert card.rt.malloc(8, 0) == (0x148000000, 0)


def test_a_hanging_call_goes_on_as_usual_when_it_is_released() -> None:
    card = ready()
    context, _ = card.rt.get_current_context()
    assert context is not None
    released = card.faults.hang("malloc")

    def allocate() -> tuple[int | None, int]:
        card.rt.set_current_context(context)
        return card.rt.malloc(8, 0)

    thread, answers = start(allocate)
    thread.join(0.05)
    assert thread.is_alive()
    released.set()
    thread.join(PATIENCE_S)
    assert answers == [(0x148000000, 0)]


def test_a_dead_card_hangs_one_call_and_refuses_all_others() -> None:
    card = ready()
    context, _ = card.rt.get_current_context()
    assert context is not None
    address, host = malloc(card, 8), np.zeros(8, np.uint8)
    given_up = card.faults.kill_card()

    def copy() -> int:
        card.rt.set_current_context(context)
        return card.rt.memcpy(address, host.ctypes.data, 8, H2D)

    thread, answers = start(copy)
    thread.join(0.05)
    assert thread.is_alive()
    assert card.rt.malloc(8, 0) == (None, ret(0x8030040C))
    assert card.rt.engine_execute(1, 1, 0, 0) == -1
    assert card.rt.free(address) == ret(0x8030040C)
    assert card.rt.get_device_list() == ([DEVICE], 0)  # what stays on the host still answers
    assert card.finalize() == 0
    given_up.set()
    thread.join(PATIENCE_S)
    assert answers == [ret(0x8030040C)]


def test_a_card_dies_when_it_is_planned() -> None:
    card = ready()
    address, host = malloc(card, 8), np.zeros(8, np.uint8)
    card.faults.kill_card(nth=3).set()
    answers = [card.rt.memcpy(address, host.ctypes.data, 8, H2D) for _ in range(4)]
    assert answers == [0, 0, ret(0x8030040C), ret(0x8030040C)]


def test_a_card_that_is_gone_hangs_nobody_and_is_still_listed() -> None:
    card = ready()
    address = malloc(card, 8)
    card.faults.lose_card(nth=2)
    assert card.rt.memset(address, 0, 8) == 0
    assert card.rt.memset(address, 0, 8) == ret(0x8030040C)
    assert card.rt.malloc(8, 0) == (None, ret(0x8030040C))
    assert card.rt.reset_device(DEVICE) == ret(0x8030040C)
    assert card.rt.get_device_list() == ([DEVICE], 0)
    assert card.finalize() == 0


def test_a_garbled_copy_succeeds_with_noise() -> None:
    card = ready()
    address, zeros = malloc(card, 64), np.zeros(64, np.uint8)
    card.rt.memset(address, 0, 64)
    card.faults.garble("memcpy", nth=2)
    found = [download(card, address, zeros) for _ in range(3)]
    assert [bool(each.any()) for each in found] == [False, True, False]
    card.faults.garble("memset")
    assert card.rt.memset(address, 0, 32) == 0
    assert download(card, address, zeros)[:32].any()
    assert not download(card, address, zeros)[32:].any()


def test_a_call_that_should_have_been_garbled_and_failed_garbles_no_other() -> None:
    card = ready()
    address, zeros = malloc(card, 64), np.zeros(64, np.uint8)
    card.rt.memset(address, 0, 64)
    card.faults.garble("memcpy")
    assert card.rt.memcpy(0x1000, zeros.ctypes.data, 64, H2D) == ret(0x80300581)
    assert card.rt.memcpy(zeros.ctypes.data, address, 64, D2H) == 0
    assert not zeros.any()


def test_a_garbled_run_succeeds_with_noise_in_all_its_outputs_and_nowhere_else(tmp_path: Path) -> None:
    card = ready()
    rt = card.rt
    model, _ = rt.engine_load_from_file(str(save_model(tmp_path / "layer.axmodel")))
    context, _ = rt.engine_create_context(model)
    info, _ = rt.engine_get_io_info(model)
    assert info is not None
    io, _ = rt.engine_create_io(info)
    assert io is not None
    buffers = [malloc(card, 64) for _ in range(6)]
    for address in buffers:
        rt.memset(address, 0, 64)
    for index, address in enumerate(buffers):
        setter = rt.engine_set_input_buffer_by_index if index < 4 else rt.engine_set_output_buffer_by_index
        assert setter(io, index % 4, address, 64) == 0
    zeros = np.zeros(64, np.uint8)
    for nth, noise in ((1, True), (2, False)):
        if nth == 1:
            card.faults.garble("engine_execute")
        assert rt.engine_execute(model, context, 0, io) == 0
        written = [bool(download(card, address, zeros).any()) for address in buffers]
        assert written == [False] * 4 + [noise] * 2
        assert not any(download(card, address, zeros)[8:].any() for address in buffers[4:])


def test_noise_is_the_same_in_every_run() -> None:
    def noise() -> list[int]:
        card = ready()
        address = malloc(card, 8)
        card.faults.garble("memcpy")
        found: list[int] = download(card, address, np.zeros(8, np.uint8)).tolist()
        return found

    assert noise() == noise()


@pytest.mark.parametrize(("nth", "said"), [(1, ""), (3, "0 0 ")])
def test_a_process_that_shall_be_killed_comes_no_further(nth: int, said: str) -> None:
    program = (
        "from tests.emulator.card import malloc, ready\n"
        f"card = ready(); address = malloc(card, 8); card.faults.kill_process('memset', {nth})\n"
        "for _ in range(3): print(card.rt.memset(address, 0, 8), end=' ', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, said)
