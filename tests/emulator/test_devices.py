"""Devices and contexts: who is bound to what, and when a card forgets."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from backends.emulator import Emulator
from backends.emulator.handles import SegmentationFault
from tests.emulator.card import DEVICE, download, free_cmm, malloc, ready, ret, save_model

Answer = TypeVar("Answer")

UNBOUND = ret(0x80300284)


def in_another_thread(call: Callable[[], Answer]) -> Answer:
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    thread.join()
    return answers[0]


def test_a_host_without_a_card_has_no_driver_to_open() -> None:
    host = Emulator(())
    assert host.init(None) == ret(0x8030010B)
    assert host.rt.get_device_list() == ([], 0)
    assert host.rt.get_device_count() == (0, 0)
    assert host.rt.get_soc_name() == "UNKNOWN"
    assert host.rt.get_version() == (3, 10, 2, 0)


def test_devices_are_listed_by_bus_number_after_init() -> None:
    host = Emulator((129, 3))
    assert host.rt.get_device_list() == ([], 0)
    assert host.rt.set_device(3) == ret(0x80300184)
    assert host.init('{"log": {"host": {"level": 6}}}') == 0
    assert host.set_log_level(6) == 0
    assert host.rt.get_device_list() == ([3, 129], 0)
    assert host.rt.get_device_count() == (2, 0)
    assert host.rt.get_soc_name() == "AX650N"


def test_an_id_that_is_not_in_the_list_is_refused() -> None:
    card = ready()
    assert card.rt.set_device(0) == ret(0x80300184)
    assert card.rt.reset_device(0) == ret(0x80300184)
    assert card.rt.create_context(0) == (None, ret(0x80300184))
    properties, code = card.rt.get_device_properties(0)
    assert (code, len(properties), properties["total_cmm_size"]) == (ret(0x80300184), 13, 0)


def test_each_card_has_its_own_memory_npu_and_models(tmp_path: Path) -> None:
    path = str(save_model(tmp_path / "layer.axmodel"))
    host = Emulator((3, 129), 1 << 20)
    host.init(None)
    contexts = [host.rt.create_context(device)[0] for device in (3, 129)]
    for context, value in zip(contexts, (1, 2), strict=True):
        assert context is not None
        assert host.rt.set_current_context(context) == 0
        assert host.rt.engine_init(0) == 0
        address = malloc(host, 4)
        assert address == 0x148000000
        assert host.rt.memset(address, value, 4) == 0
    model, _ = host.rt.engine_load_from_file(path)
    assert host.rt.engine_get_affinity(model) == (0b111, 0)
    assert contexts[0] is not None
    host.rt.set_current_context(contexts[0])
    assert download(host, 0x148000000, np.zeros(4, np.uint8)).tolist() == [1] * 4
    assert host.rt.engine_get_affinity(model) == (0, ret(0x80300703))
    host.rt.reset_device(129)
    host.rt.set_current_context(contexts[0])
    assert download(host, 0x148000000, np.zeros(4, np.uint8)).tolist() == [1] * 4


def test_a_thread_that_is_bound_to_nothing_reaches_no_card() -> None:
    card = ready()
    context, _ = card.rt.get_current_context()
    assert context is not None
    assert card.rt.get_device() == (DEVICE, 0)
    assert in_another_thread(lambda: card.rt.malloc(8, 0)) == (None, UNBOUND)
    assert in_another_thread(lambda: card.rt.engine_load_from_file(__file__)) == (0, UNBOUND)
    assert in_another_thread(card.rt.engine_finalize) == UNBOUND
    assert in_another_thread(card.rt.get_current_context) == (None, UNBOUND)
    assert in_another_thread(card.rt.get_device) == (0, ret(0x80300185))


def test_a_context_binds_the_thread_that_creates_it_or_takes_it() -> None:
    card = ready()
    default, _ = card.rt.get_current_context()
    own, code = card.rt.create_context(DEVICE)
    assert code == 0
    assert own is not None
    assert card.rt.get_current_context() == (own, 0)
    assert card.rt.get_default_context(DEVICE) == (default, 0)

    def borrow() -> int | None:
        assert card.rt.set_current_context(own) == 0
        return card.rt.malloc(8, 0)[0]

    address = in_another_thread(borrow)
    assert address is not None
    assert card.rt.free(address) == 0  # memory belongs to the process, not to the thread


def test_destroying_a_context_unbinds_every_thread_of_it() -> None:
    card = ready()
    context, _ = card.rt.create_context(DEVICE)
    assert context is not None
    assert card.rt.destroy_context(context) == 0
    assert card.rt.malloc(8, 0) == (None, UNBOUND)


def test_the_default_context_cannot_be_destroyed() -> None:
    card = ready()
    default, _ = card.rt.get_default_context(DEVICE)
    assert default is not None
    assert card.rt.destroy_context(default) == ret(0x80300282)
    assert card.rt.get_current_context() == (default, 0)


def test_a_destroyed_context_is_as_fatal_as_an_invented_one() -> None:
    card = ready()
    context, _ = card.rt.create_context(DEVICE)
    assert context is not None
    card.rt.destroy_context(context)
    for stale in (context, 0xDEAD):
        with pytest.raises(SegmentationFault):
            card.rt.set_current_context(stale)
        with pytest.raises(SegmentationFault):
            card.rt.destroy_context(stale)


def test_create_context_opens_a_card_that_nobody_has_set() -> None:
    card = Emulator((DEVICE,), 1 << 20)
    card.init(None)
    assert card.rt.get_default_context(DEVICE) == (None, ret(0x80300183))
    context, code = card.rt.create_context(DEVICE)
    assert code == 0
    assert card.rt.get_current_context() == (context, 0)
    assert card.rt.malloc(8, 0) == (0x148000000, 0)
    default, code = card.rt.get_default_context(DEVICE)
    assert code == 0
    assert default not in (None, context)
    assert card.rt.reset_device(DEVICE) == 0
    assert card.rt.reset_device(DEVICE) == ret(0x80300183)


def test_the_last_reset_takes_everything_off_the_card() -> None:
    card = ready()
    assert card.rt.set_device(DEVICE) == 0
    malloc(card, 1 << 19)
    assert card.rt.reset_device(DEVICE) == 0
    assert free_cmm(card) == 1 << 19
    assert card.rt.reset_device(DEVICE) == 0
    assert card.rt.reset_device(DEVICE) == ret(0x80300183)
    assert free_cmm(card) == 1 << 20
    assert card.rt.malloc(8, 0) == (None, UNBOUND)
    assert card.rt.set_device(DEVICE) == 0
    assert card.rt.engine_init(0) == 0


def test_finalize_always_succeeds_and_leaves_a_card_that_can_be_used_again() -> None:
    card = ready()
    malloc(card, 1 << 20)
    assert card.finalize() == 0
    assert card.finalize() == 0
    assert card.rt.get_device_list() == ([], 0)
    assert card.rt.malloc(8, 0) == (None, UNBOUND)
    assert card.init(None) == 0
    assert card.rt.set_device(DEVICE) == 0
    malloc(card, 1 << 20)


def test_properties_are_in_kib_and_milli_degrees_and_unbind_the_thread() -> None:
    card = ready()
    malloc(card, 8192)
    properties, code = card.rt.get_device_properties(DEVICE)
    assert code == 0
    assert bytes(properties.pop("sw_version")).split(b"\0")[0] == b"V3.10.2 emulated"
    assert properties == {
        "uid": 0x6007080746221081,
        "pci_domain": 0,
        "pci_bus_id": 129,
        "pci_device_id": 0,
        "temperature": 45000,
        "total_mem_size": 968356,
        "free_mem_size": 816844,
        "total_cmm_size": 1024,
        "free_cmm_size": 1016,
        "cpu_loading": 0,
        "npu_loading": 0,
        "reserved": [0] * 32,
    }
    assert card.rt.malloc(8, 0) == (None, UNBOUND)


def test_synchronizing_the_device_succeeds() -> None:
    assert ready().rt.synchronize_device() == 0
