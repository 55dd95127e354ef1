"""How many requests are let in, how long a body may take, and how they all end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from gateway.api.door import Door
from gateway.api.pace import FIRST_GUESS_S, LEAST_S, MOST_S, Pace
from tests.api.service import PATH, ScriptedEngine, body, call, events, open_door, service


def responses(app: Starlette, *actions: Any) -> list[httpx.Response]:
    """Each action is a request's content, or something to call when those before it are under way."""

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            sent = []
            for action in actions:
                if callable(action):
                    action()
                else:
                    kind = "json" if isinstance(action, dict) else "content"
                    sent.append(asyncio.create_task(client.post(PATH, **{kind: action})))
                await asyncio.sleep(0.1)
            return await asyncio.wait_for(asyncio.gather(*sent), 5)

    return asyncio.run(run())


async def half_a_body() -> AsyncIterator[bytes]:
    yield b'{"model": '
    await asyncio.Event().wait()


def error(response: httpx.Response) -> tuple[int, str | None, str]:
    told = response.json()["error"]
    return response.status_code, told["code"], told["message"]


CLOSING = (503, None, "The server is shutting down.")


def test_a_request_too_many_is_refused_before_its_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.api.connection.BODY_TIMEOUT_S", 0.5)
    held, refused = responses(service(door=open_door(1)), half_a_body(), half_a_body())
    assert error(refused) == (503, "overloaded", "1 requests are being answered; try again later.")
    assert refused.headers["retry-after"] == "2"  # a guess, for nothing was measured yet
    assert error(held) == (408, None, "The request body was not sent within 0 seconds.")
    assert held.headers["connection"] == "close"


def test_whoever_is_refused_is_told_when_those_that_are_in_will_have_been_answered() -> None:
    gate = asyncio.Event()
    app = service(ScriptedEngine(gate=gate), door=open_door(3))

    async def scenario() -> list[httpx.Response]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://test"
        ) as client:
            await asyncio.sleep(0.5)  # nothing to do counts for nothing
            first = asyncio.create_task(client.post(PATH, json=body()))
            await asyncio.sleep(0.7)
            gate.set()  # the first answer took 0.7 seconds
            await first
            gate.clear()
            held = [asyncio.create_task(client.post(PATH, json=body())) for _ in range(3)]
            await asyncio.sleep(0.1)
            refused = await client.post(PATH, json=body())
            gate.set()
            await asyncio.gather(*held)
            return [refused]

    (refused,) = asyncio.run(asyncio.wait_for(scenario(), 10))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "3")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_pace_is_that_of_the_answers_lately_however_many_at_once() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.wait_s(5) == 5 * FIRST_GUESS_S
    for _ in range(100):
        clock.now_s += 1000  # nobody there
        pace.begin()
        clock.now_s += 8
        for _ in range(4):
            pace.end()
    assert 2 * 0.9 < pace.wait_s(1) < 2 * 1.1
    assert pace.wait_s(10**6) == MOST_S
    for _ in range(300):
        clock.now_s += 0.1
        pace.end()
    assert pace.wait_s(1) == LEAST_S
    assert pace.wait_s(20) == pytest.approx(2, rel=0.05)


def test_a_model_that_is_loaded_brings_room_for_more() -> None:
    room = [0]
    app = service(door=Door(lambda: sum(room)))
    assert call(app, json=body()).status_code == 503
    room.append(1)
    assert call(app, json=body()).status_code == 200


def test_whoever_is_done_makes_room() -> None:
    app = service(door=open_door(1))
    assert [call(app, json=body(stream=stream)).status_code for stream in (False, True, False)] == [200] * 3
    assert call(app, json=body(max_tokens=-1)).status_code == 400
    assert call(app, json=body()).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_closing_door_ends_requests_that_wait(stream: bool) -> None:
    door, engine = open_door(8), ScriptedEngine(gate=asyncio.Event())
    app = service(engine, door=door)
    waiting, reading, late = responses(app, body(stream=stream), half_a_body(), door.close, body())
    assert [error(each) for each in (waiting, reading, late)] == [CLOSING] * 3
    assert engine.num_closed == 1


def test_a_closing_door_leaves_answers_that_have_begun_to_the_engine() -> None:
    door, gate = open_door(8), asyncio.Event()
    app = service(ScriptedEngine("one two", gate=gate, gate_at=1), door=door)
    (answer,) = responses(app, body(stream=True), door.close, gate.set)
    assert events(answer)[-1] == "[DONE]"


def test_the_state_can_be_seen_through_a_closed_door() -> None:
    door = open_door(1)
    door.close()
    assert call(service(door=door), "/health", "GET").status_code == 200
