"""How many requests are let in, how long a body may take, and how they all end."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from gateway.api.door import Door
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
    assert refused.headers["retry-after"] == "2"
    assert error(held) == (408, None, "The request body was not sent within 0 seconds.")
    assert held.headers["connection"] == "close"


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
