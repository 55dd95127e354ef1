"""Known causes of a failing card, named where the card and the host both show them."""

from dataclasses import replace
from pathlib import Path

import pytest

from backends.axcl.cures import Host, cures, cures_of_full, cures_of_silence
from backends.base import DeviceError, DeviceMemoryError, PackageError

DEAD = DeviceError("engine_execute", 0x8030040C, "the card does not answer any more")
FULL = DeviceMemoryError("malloc", 0x8030050C, "out of card memory (CMM)")
WRONG = DeviceError("free", 0x80300581, "not the base address of a device allocation")
WELL = Host(buses=(3,), slept_s=0.01, cma_bytes=256 << 20, cma_free_bytes=200 << 20)


@pytest.mark.parametrize(
    ("reason", "host", "words"),
    [
        (DEAD, WELL, ["modprobe -r axcl_host"]),
        (DEAD, replace(WELL, slept_s=3600.0), ["slept for 3600 s", "modprobe"]),
        (DEAD, replace(WELL, buses=(129,)), ["slot_index_force=3", "modprobe"]),
        (
            DEAD,
            replace(WELL, cma_bytes=64 << 20, cma_free_bytes=1 << 20),
            ["1 of its 64 MiB of CMA", "modprobe"],
        ),
        (WRONG, replace(WELL, cma_bytes=0, cma_free_bytes=0), []),
        (FULL, WELL, ["a program that died has left it"]),
        (WRONG, replace(WELL, buses=(129,), slept_s=3600.0), []),
        (PackageError("a Git LFS pointer"), WELL, []),
        (DEAD, Host(slept_s=3600.0), []),
    ],
)
def test_a_cause_is_named_where_the_host_shows_it(reason: Exception, host: Host, words: list[str]) -> None:
    found = cures(reason, host)
    assert len(found) == len(words)
    for word, sentence in zip(words, found, strict=True):
        assert word in sentence
        assert sentence[-1].isalnum()


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (WELL, ["modprobe -r axcl_host"]),
        (replace(WELL, slept_s=3600.0, buses=(129,)), ["slept for 3600 s", "slot_index_force=3", "modprobe"]),
        (replace(WELL, cma_bytes=64 << 20, cma_free_bytes=1 << 20), ["1 of its 64 MiB of CMA", "modprobe"]),
        (Host(slept_s=3600.0), []),
    ],
)
def test_a_call_that_never_comes_back_has_the_causes_of_a_dead_card(host: Host, words: list[str]) -> None:
    found = cures_of_silence(host)
    assert len(found) == len(words)
    for word, sentence in zip(words, found, strict=True):
        assert word in sentence


def test_a_card_with_too_little_free_may_have_been_left_full() -> None:
    assert cures_of_full(WELL) == cures(FULL, WELL)
    assert cures_of_full(Host()) == []


def test_the_host_is_looked_at_without_the_library() -> None:
    host = Host.look()
    assert host.slept_s >= 0
    total = Path("/proc/meminfo").read_text().partition("CmaTotal:")[2].split()[:1]
    assert host.cma_bytes == (int(total[0]) << 10 if total else 0)
