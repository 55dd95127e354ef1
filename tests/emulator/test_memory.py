"""The card's memory and the copies to, from and on it."""

import os

import numpy as np

from backends.emulator import Emulator
from tests.emulator.card import D2D, D2H, H2D, H2H, download, free_cmm, malloc, ready, ret, upload

PAGE = 4096
MIB = 1 << 20


def test_an_allocation_takes_whole_pages_from_where_the_cards_memory_begins() -> None:
    card = ready()
    first, second, third = malloc(card, 1), malloc(card, PAGE + 1), malloc(card, 1)
    assert (first, second, third) == (0x148000000, 0x148001000, 0x148003000)
    assert free_cmm(card) == MIB - 4 * PAGE


def test_fresh_memory_is_not_zero() -> None:
    card = ready()
    assert download(card, malloc(card, 4), np.zeros(4, np.uint8)).tolist() == [0xFF] * 4


def test_freed_memory_that_is_allocated_again_is_not_zero_either() -> None:
    card = ready()
    address = malloc(card, 4)
    card.rt.memset(address, 0, 4)
    card.rt.free(address)
    assert malloc(card, 4) == address
    assert download(card, address, np.zeros(4, np.uint8)).tolist() == [0xFF] * 4


def test_a_full_card_answers_no_pointer_and_gives_room_again_after_a_free() -> None:
    card = ready(cmm_bytes=3 * PAGE)
    addresses = [malloc(card, PAGE) for _ in range(3)]
    assert card.rt.malloc(1, 0) == (None, ret(0x8030050C))
    assert card.rt.free(addresses[1]) == 0
    assert card.rt.malloc(2 * PAGE, 0) == (None, ret(0x8030050C))
    assert card.rt.malloc(PAGE, 0) == (addresses[1], 0)


def test_everything_freed_is_all_of_the_memory_again() -> None:
    card = ready()
    for address in [malloc(card, size) for size in (1, PAGE, 10 * PAGE + 5)]:
        assert card.rt.free(address) == 0
    assert free_cmm(card) == MIB


def test_only_the_base_of_a_live_allocation_can_be_freed() -> None:
    card = ready()
    address = malloc(card, PAGE)
    assert card.rt.free(address + 128) == ret(0x80300581)
    assert card.rt.free(address) == 0
    assert card.rt.free(address) == ret(0x80300581)


def test_the_host_gets_freed_pages_back() -> None:
    card = ready(cmm_bytes=64 * MIB)
    before = _resident()
    address = malloc(card, 64 * MIB)
    assert _resident() > before + 60 * MIB
    card.rt.free(address)
    assert _resident() < before + 4 * MIB


def test_nothing_is_allocated_for_no_bytes() -> None:
    assert ready().rt.malloc(0, 0) == (None, ret(0x8030050C))


def test_sizes_lose_what_does_not_fit_in_32_bits() -> None:
    card = ready()
    address = malloc(card, (1 << 32) + 1)
    assert free_cmm(card) == MIB - PAGE
    assert card.rt.memset(address, 0, (1 << 32) + 1) == 0
    assert download(card, address, np.zeros(2, np.uint8)).tolist() == [0, 0xFF]


def test_copies_reach_any_byte_of_an_allocation() -> None:
    card = ready()
    source, target = malloc(card, 64), malloc(card, 64)
    data = np.arange(8, dtype=np.uint8)
    upload(card, source + 5, data)
    assert card.rt.memcpy(target + 17, source + 7, 6, D2D) == 0
    assert card.rt.memset(target + 18, 0xAA, 1) == 0
    assert download(card, target + 16, data).tolist() == [0xFF, 2, 0xAA, 4, 5, 6, 7, 0xFF]


def test_a_copy_that_is_too_long_ruins_the_neighbour() -> None:
    card = ready()
    first, second = malloc(card, PAGE), malloc(card, PAGE)
    assert card.rt.memset(second, 0, PAGE) == 0
    upload(card, first + PAGE - 2, np.array([1, 2, 3, 4], np.uint8))
    assert download(card, second, np.zeros(3, np.uint8)).tolist() == [3, 4, 0]


def test_addresses_outside_every_allocation_are_refused() -> None:
    card = ready(cmm_bytes=3 * PAGE)
    address, host = malloc(card, PAGE), np.zeros(8, np.uint8)
    for stray in (address - 1, address + PAGE, host.ctypes.data):
        assert card.rt.memset(stray, 0, 8) == ret(0x80300581)
        assert card.rt.memcpy(stray, host.ctypes.data, 8, H2D) == ret(0x80300581)
        assert card.rt.memcpy(host.ctypes.data, stray, 8, D2H) == ret(0x80300581)
        assert card.rt.memcpy(address, stray, 8, D2D) == ret(0x80300581)
        assert card.rt.memcpy(stray, address, 8, D2D) == ret(0x80300581)


def test_a_copy_past_the_end_of_the_memory_is_refused() -> None:
    card = ready(cmm_bytes=PAGE)
    assert card.rt.memset(malloc(card, PAGE) + 1, 0, PAGE) == ret(0x80300581)


def test_memory_is_compared_on_the_card() -> None:
    card = ready()
    first, second = malloc(card, 16), malloc(card, 16)
    assert card.rt.memcmp(first, second, 16) == 0
    assert card.rt.memset(second + 15, 0, 1) == 0
    assert card.rt.memcmp(first, second, 15) == 0
    assert card.rt.memcmp(first, second, 16) != 0


def test_copies_on_the_host_need_no_card() -> None:
    source, target = np.arange(4, dtype=np.uint8), np.zeros(4, np.uint8)
    assert Emulator(()).rt.memcpy(target.ctypes.data, source.ctypes.data, 4, H2H) == 0
    assert target.tolist() == [0, 1, 2, 3]


def test_copies_from_physical_host_memory_are_not_supported() -> None:
    card = ready()
    address = malloc(card, 8)
    assert card.rt.memcpy(address, address, 8, 4) == ret(0x80300504)


def test_two_emulators_are_two_cards() -> None:
    one, other = ready(), ready()
    address = malloc(one, 4)
    assert malloc(other, 4) == address
    upload(one, address, np.array([1, 2, 3, 4], np.uint8))
    assert download(other, address, np.zeros(4, np.uint8)).tolist() == [0xFF] * 4


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
