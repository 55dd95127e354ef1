"""A client that leaves ends its request wherever that stands, and one choice that fails ends the others."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.chat.conversation import Conversation, Turn
from gateway.engine.prompt import Output
from gateway.errors import EngineFailure
from tests.api.scripted_chat import ScriptedChat
from tests.api.service import (
    Connection,
    ScriptedEngine,
    ask,
    body,
    image,
    service,
    text,
)
from tests.chat.models import model as seeing_model
from tests.chat.web import Page, serve

LEAVES = pytest.mark.parametrize("stream", [False, True])


async def leaves(connection: Connection, when: Callable[[], bool]) -> None:
    """As soon as `when` holds; the application must be done with it at once."""
    running = asyncio.create_task(connection.run())
    async with asyncio.timeout(5):
        while not when():
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    connection.leave()
    await asyncio.wait_for(running, 0.5)


@LEAVES
@pytest.mark.parametrize("gate_at", [0, 2])
@pytest.mark.parametrize("n", [1, 3])
def test_generations_end_before_their_next_step(stream: bool, gate_at: int, n: int) -> None:
    """Waiting in the engine or in prefill, and while tokens come; choices that wait for the first one too."""

    async def scenario() -> ScriptedEngine:
        engine = ScriptedEngine("one two three four", gate=asyncio.Event(), gate_at=gate_at)
        connection = Connection(service(engine), body(stream=stream, n=n))
        num_begun = 1 if gate_at == 0 else n
        await leaves(connection, lambda: len(engine.requests) == num_begun)
        return engine

    engine = asyncio.run(scenario())
    assert len(engine.requests) == (1 if gate_at == 0 else n)
    assert engine.num_closed == len(engine.requests)


@LEAVES
def test_a_model_that_is_being_loaded_is_not_waited_for_any_more(stream: bool) -> None:
    async def scenario() -> tuple[ScriptedEngine, bool]:
        engine, gate = ScriptedEngine(), asyncio.Event()
        app = service(engine, cold=["cold"], gate=gate)
        connection = Connection(app, body(stream=stream) | {"model": "cold"})
        await leaves(connection, lambda: True)
        return engine, bool(connection.sent)

    engine, answered = asyncio.run(scenario())
    assert (engine.requests, answered) == ([], False)


@LEAVES
def test_pictures_are_not_downloaded_any_more(stream: bool) -> None:
    page = Page(b"x" * 100_000, pause_s=0.01)

    async def scenario() -> tuple[int, int]:
        async with serve({"/": page}) as base:
            engine = ScriptedEngine()
            content = [image(base + "/"), text("What?")]
            connection = Connection(service(engine, chat=seeing_model()), body(content, stream=stream))
            await leaves(connection, lambda: page.num_sent > 0)
            await asyncio.sleep(0.1)
            num_sent = page.num_sent
            await asyncio.sleep(0.3)
            assert engine.requests == []
            return num_sent, page.num_sent

    before, after = asyncio.run(scenario())
    assert before == after < 10_000


@LEAVES
def test_a_prompt_is_not_prepared_any_more(stream: bool) -> None:
    ended = []

    class Slow(ScriptedChat):
        async def prepare(self, conversation: Conversation) -> Turn:
            try:
                return await super().prepare(conversation)
            finally:
                ended.append(conversation)

    async def scenario() -> ScriptedEngine:
        engine, chat = ScriptedEngine(), Slow(gate=asyncio.Event())
        connection = Connection(service(engine, chat=chat), body(stream=stream))  # type: ignore[arg-type]
        await leaves(connection, lambda: bool(chat.asked))
        return engine

    assert asyncio.run(scenario()).requests == []
    assert len(ended) == 1


class FailingEngine(ScriptedEngine):
    """The second generation fails after its first token; the others never get on."""

    async def generate(self, request: Any) -> Any:
        self.requests.append(request)
        number = len(self.requests)
        try:
            yield Output(request.id, 5, None, 1, 0)
            if number == 2:
                raise EngineFailure("The engine stopped.")
            await asyncio.Event().wait()
        finally:
            self.num_closed += 1


def test_one_choice_that_fails_ends_the_others() -> None:
    engine = FailingEngine()
    response = ask(service(engine), n=3)
    assert (response.status_code, response.json()["error"]["code"]) == (500, "engine_failure")
    assert engine.num_closed == len(engine.requests) >= 2
