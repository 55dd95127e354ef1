"""A card that does not answer: the log and /health name the cause that its host shows, and the cure."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from backends.axcl.cures import Host
from backends.emulator import Emulator
from gateway.engine.client import EngineClient
from gateway.engine.messages import Place
from gateway.engine.room import NoRoom
from gateway.engine.worker import build_engine
from gateway.errors import EngineFailure
from tests.doctor.cards import Told
from tests.engine.test_client import HERE, config, request, said, until

ASLEEP = Host(buses=(3,), slept_s=3600.0)
CURE = (
    "The host has slept for 3600 s since it was started, which no card survives: disable that (systemctl mask"
)


BINDING = (
    "from backends.emulator import Emulator\ncard = Emulator(devices=(3,), cmm_bytes=64 << 20)\n"
    "init, finalize, rt = card.init, card.finalize, card.rt\n"
)


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """One in a host that has slept."""
    (tmp_path / "axcl.py").write_text(BINDING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(Host, "look", lambda: ASLEEP)
    monkeypatch.setattr("gateway.engine.watch.FLOOR_S", 2.0)
    return Place("card")


@asynccontextmanager
async def silent(place: Place) -> AsyncIterator[EngineClient]:
    """Its worker is ended for its silence."""
    client = EngineClient(config())
    await client.load(place)
    try:
        os.kill(client.worker_pid, signal.SIGSTOP)
        asked = asyncio.create_task(said(client, request("1")))
        await until(lambda: client.status.state == "restarting")
        yield client
        assert len(await asked) == 8
    finally:
        await client.close()


def test_a_worker_that_hangs_on_a_card_is_told_with_the_cure(
    card: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with silent(card) as client:
            told = client.status.levels["worker"]
            assert told.startswith(f"no sign of life for 3 s. {CURE}")

    with caplog.at_level(logging.ERROR, "gateway.engine.client"):
        asyncio.run(run())
    assert CURE in caplog.text


def test_an_emulated_card_needs_no_cure(card: Place) -> None:
    async def run() -> None:
        async with silent(HERE) as client:
            assert client.status.levels["worker"] == "no sign of life for 3 s"

    asyncio.run(run())


def test_a_card_that_cannot_be_opened_is_not_waited_for_as_long_as_a_load(
    card: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in the list whose heartbeat has stopped."""
    (tmp_path / "axcl.py").write_text(f"{BINDING}card.faults.hang('set_device')\n")
    monkeypatch.setattr("gateway.engine.client.OPEN_TIMEOUT_S", 8.0)

    async def run() -> None:
        client = EngineClient(config())
        try:
            with pytest.raises(EngineFailure, match=f"did not answer within 8 s. {CURE[:40]}"):
                await client.load(card)
        finally:
            await client.close()

    asyncio.run(run())


def test_a_card_that_somebody_left_full_is_told_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was killed may be the one."""
    monkeypatch.setitem(sys.modules, "axcl", Told(Emulator(devices=(3,), cmm_bytes=500_000)))
    monkeypatch.setattr(Host, "look", lambda: Host(buses=(3,)))
    with ExitStack() as undo, pytest.raises(NoRoom, match=r"which has 0\.5 MB") as caught:
        build_engine(replace(config(), place=Place("card")), undo, lambda: None)
    assert "a program that died has left it" in " ".join(caught.value.__notes__)


def test_a_worker_that_cannot_be_ended_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that sleeps in the driver of a card that died."""
    left: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: left.append(process))
    monkeypatch.setattr("gateway.engine.watch.FLOOR_S", 2.0)
    monkeypatch.setattr("gateway.engine.process.DYING_S", 0.2)
    monkeypatch.setattr("gateway.engine.process.CLOSE_TIMEOUT_S", 0.2)

    async def run() -> None:
        async with silent(HERE) as client:
            assert client.status.levels["worker"] == "no sign of life for 3 s"
            (asleep,) = left
            assert asleep.poll() is None
            await until(lambda: client.status.state == "ready")
            assert client.worker_pid != asleep.pid
            assert f"process {asleep.pid} sleeps in the driver" in caplog.text
        os.kill(asleep.pid, signal.SIGKILL)
        asleep.wait()

    asyncio.run(run())


def test_a_card_that_is_silent_while_a_model_is_loaded_is_told_with_the_cure(
    card: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.engine.client.LOAD_TIMEOUT_S", 0.01)

    async def run() -> None:
        client = EngineClient(config())
        try:
            with pytest.raises(EngineFailure, match=r"not loaded within 0 s\. The host has slept for 3600 s"):
                await client.load(card)
        finally:
            await client.close()

    asyncio.run(run())
