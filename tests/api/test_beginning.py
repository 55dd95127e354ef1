"""When a stream begins, and what a client hears while it waits."""

import asyncio
from typing import Any

import pytest

from gateway.api.feed import PREPARING_S, QUIET_S
from gateway.errors import EngineFailure
from tests.api.scripted_chat import scripted
from tests.api.service import Connection, ScriptedEngine, body, service

PING = b": ping\n\n"


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it in a hurry."""
    monkeypatch.setattr("gateway.api.feed.PREPARING_S", PREPARING_S / 40)
    monkeypatch.setattr("gateway.api.feed.QUIET_S", QUIET_S / 10)
    monkeypatch.setattr("gateway.api.delivery.WAITING_PING_S", 0.1)
    monkeypatch.setattr("gateway.api.delivery.PING_S", 0.5)


def driven(
    connection: Connection, gate: asyncio.Event, closed_s: float
) -> list[tuple[float, dict[str, Any]]]:
    """What is sent, and when; the gate opens after `closed_s`."""

    async def scenario() -> list[tuple[float, dict[str, Any]]]:
        loop = asyncio.get_running_loop()
        told: list[tuple[float, dict[str, Any]]] = []
        start_s = loop.time()
        running = asyncio.create_task(connection.run())
        loop.call_later(closed_s, gate.set)
        while not running.done() or len(told) < len(connection.sent):
            await asyncio.sleep(0.005)
            told += [(loop.time() - start_s, message) for message in connection.sent[len(told) :]]
        await running
        return told

    return asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.usefixtures("hurry")
def test_a_prefill_is_waited_for_with_a_comment_each_second() -> None:
    gate = asyncio.Event()
    app = service(ScriptedEngine("one two", gate=gate))
    told = driven(Connection(app, body(stream=True)), gate, closed_s=0.75)
    (began_s, start), *rest = told
    assert (start["status"], QUIET_S / 10 <= began_s < 0.3) == (200, True)
    bodies = [message["body"] for _, message in rest]
    first = next(place for place, each in enumerate(bodies) if each != PING)
    assert 4 <= first <= 7  # from 0.1 to 0.75 seconds, one each 0.1
    assert b'"role":"assistant"' in bodies[first]
    assert b"data: [DONE]\n\n" in bodies


@pytest.mark.usefixtures("hurry")
def test_once_it_has_begun_comments_are_rare() -> None:
    gate = asyncio.Event()
    app = service(ScriptedEngine("one two", gate=gate, gate_at=1))
    told = driven(Connection(app, body(stream=True)), gate, closed_s=1.3)
    pings = [at_s for at_s, message in told[1:] if message["body"] == PING]
    assert 1 <= len(pings) <= 3
    assert pings[0] >= 0.1


@pytest.mark.usefixtures("hurry")
def test_a_stream_waits_for_its_prompt_so_that_errors_have_a_status() -> None:
    gate = asyncio.Event()
    told = driven(Connection(service(chat=scripted(gate=gate)), body(stream=True)), gate, closed_s=0.3)
    assert told[0][0] >= 0.3
    app = service(chat=scripted(gate=gate))
    told = driven(Connection(app, body("word " * 300, stream=True)), asyncio.Event(), closed_s=0)
    assert told[0][1]["status"] == 400


@pytest.mark.usefixtures("hurry")
def test_a_stream_begins_even_so_when_its_prompt_takes_too_long() -> None:
    gate = asyncio.Event()
    told = driven(Connection(service(chat=scripted(gate=gate)), body(stream=True)), gate, closed_s=0.8)
    assert PREPARING_S / 40 <= told[0][0] < 0.8
    assert told[1][1]["body"] == PING


@pytest.mark.usefixtures("hurry")
def test_a_stream_of_a_model_that_is_being_loaded_is_kept_open() -> None:
    gate = asyncio.Event()
    app = service(cold=["cold"], gate=gate)
    told = driven(Connection(app, body(stream=True) | {"model": "cold"}), gate, closed_s=1.0)
    bodies = [message["body"] for _, message in told[1:]]
    assert bodies[:3] == [PING] * 3
    assert b"data: [DONE]\n\n" in bodies


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("closed_s", [0.02, 0.4])
def test_an_engine_that_fails_at_once_gives_a_status_and_later_an_event(closed_s: float) -> None:
    gate = asyncio.Event()
    error = EngineFailure("The engine stopped.")
    app = service(ScriptedEngine("one", error=error, gate=gate), chat=scripted(()))
    told = driven(Connection(app, body(stream=True)), gate, closed_s)
    bodies = [message["body"] for _, message in told[1:]]
    assert told[0][1]["status"] == (500 if closed_s < 0.1 else 200)
    assert sum(b'"code":"engine_failure"' in each for each in bodies) == 1
    assert not any(b"[DONE]" in each for each in bodies)
