"""Faults that a test has planned happen, to the call it named, and then no more."""

import threading
from collections.abc import Callable

import numpy as np

from backends.emulator import Emulator
from tests.emulator.card import DEVICE, H2D, download, malloc, ready, ret

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
