"""The openai package against a real socket: responses and text completions, as its users write it. Answers
are validated strictly."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI, pydantic_responses_function_tool
from openai.types.responses import Response
from pydantic import BaseModel
from starlette.applications import Starlette

from gateway.chat.reply import Delta
from gateway.chat.segments import CallDelta
from tests.api.scripted_chat import scripted
from tests.api.service import MODEL, RED_PIXEL, ScriptedEngine, service
from tests.api.test_http import listening

SAID = "A red pixel. 你好🌍"


def talk(app: Starlette, what: Callable[[OpenAI], None], strict: bool = True) -> None:
    async def run() -> None:
        async with listening(app) as port:
            await asyncio.to_thread(with_client, port)

    def with_client(port: int) -> None:
        with OpenAI(**options(port), _strict_response_validation=strict) as client:
            what(client)

    asyncio.run(asyncio.wait_for(run(), 20))


def talk_async(app: Starlette, what: Callable[[AsyncOpenAI], Awaitable[None]]) -> None:
    async def run() -> None:
        async with (
            listening(app) as port,
            AsyncOpenAI(**options(port), _strict_response_validation=True) as client,
        ):
            await what(client)

    asyncio.run(asyncio.wait_for(run(), 20))


def options(port: int) -> dict[str, Any]:
    return {"base_url": f"http://127.0.0.1:{port}/v1", "api_key": "sk-test", "max_retries": 0}


# --- responses


def test_a_response_is_asked_for_followed_told_again_and_deleted() -> None:
    def work(client: OpenAI) -> None:
        content: Any = [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "image_url": RED_PIXEL, "detail": "auto"},
        ]
        first = client.responses.create(model=MODEL, input=[{"role": "user", "content": content}])
        assert (first.output_text, first.status) == (SAID, "completed")
        assert first.usage is not None
        assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens
        second = client.responses.create(model=MODEL, input="Why?", previous_response_id=first.id)
        assert client.responses.retrieve(second.id) == second
        asked = list(client.responses.input_items.list(second.id, limit=1, order="asc"))
        assert [item.type for item in asked] == ["message", "message", "message"]
        with pytest.raises(BadRequestError, match="Cannot cancel a synchronous response"):
            client.responses.cancel(second.id)
        client.responses.delete(second.id)
        with pytest.raises(NotFoundError, match=second.id):
            client.responses.retrieve(second.id)

    talk(service(ScriptedEngine(SAID)), work)


def test_a_stream_is_read_event_by_event_and_by_its_helper() -> None:
    def work(client: OpenAI) -> None:
        said, last = "", None
        for event in client.responses.create(model=MODEL, input="Hi", stream=True):
            said += event.delta if event.type == "response.output_text.delta" else ""
            last = event
        assert last is not None
        assert last.type == "response.completed"
        assert said == last.response.output_text == SAID
        with client.responses.stream(model=MODEL, input="Hi") as stream:
            snapshots = [each.snapshot for each in stream if each.type == "response.output_text.delta"]
            assert stream.get_final_response().output_text == snapshots[-1] == SAID

    talk(service(ScriptedEngine(SAID)), work)


class Colour(BaseModel):
    name: str


def test_an_answer_is_parsed_into_the_callers_own_type() -> None:
    def work(client: OpenAI) -> None:
        parsed = client.responses.parse(model=MODEL, input="Hi", text_format=Colour)
        assert parsed.output_parsed == Colour(name="red")
        with client.responses.stream(model=MODEL, input="Hi", text_format=Colour) as stream:
            assert stream.get_final_response().output_parsed == Colour(name="red")

    chat = scripted((Delta('{"name": '), Delta('"red"}')))
    talk(service(ScriptedEngine(SAID), chat=chat), work)


class Look(BaseModel):
    at: str


def test_calls_are_parsed_and_answered() -> None:
    tool = pydantic_responses_function_tool(Look, name="look")

    def work(client: OpenAI) -> None:
        with client.responses.stream(model=MODEL, input="Hi", tools=[tool]) as stream:
            snapshots = [
                each.snapshot for each in stream if each.type == "response.function_call_arguments.delta"
            ]
            final = stream.get_final_response()
        assert snapshots[-1] == '{"at": "sky"}'
        reasoning, called = final.output
        assert reasoning.type == "reasoning"
        assert called.type == "function_call"
        assert called.parsed_arguments == Look(at="sky")
        history: list[Any] = [{"role": "user", "content": "Hi"}, *(item.to_dict() for item in final.output)]
        history.append({"type": "function_call_output", "call_id": called.call_id, "output": "blue"})
        answer = client.responses.create(model=MODEL, input=history, tools=[tool])
        assert answer.output_text == "Blue."

    calls = (
        Delta(reasoning="Hm."),
        Delta(calls=(CallDelta(0, '{"at": ', id="call_1", name="look"),)),
        Delta(calls=(CallDelta(0, '"sky"}'),)),
    )
    talk(service(ScriptedEngine(SAID), chat=scripted(calls, (Delta("Blue."),))), work)


def test_an_answer_that_is_cut_says_so() -> None:
    def work(client: OpenAI) -> None:
        events = list(client.responses.create(model=MODEL, input="Hi", max_output_tokens=1, stream=True))
        last = events[-1]
        assert last.type == "response.incomplete"
        assert last.response.incomplete_details is not None
        assert last.response.incomplete_details.reason == "max_output_tokens"

    talk(service(ScriptedEngine(SAID)), work)


def test_a_refusal_has_its_code_and_field() -> None:
    def work(client: OpenAI) -> None:
        with pytest.raises(BadRequestError) as refused:
            client.responses.create(model=MODEL, input="Hi", previous_response_id="resp_0", stream=True)
        assert (refused.value.code, refused.value.param) == (
            "previous_response_not_found",
            "previous_response_id",
        )

    talk(service(), work)


def test_the_async_client_gets_the_same() -> None:
    async def work(client: AsyncOpenAI) -> None:
        whole, other = await asyncio.gather(
            client.responses.create(model=MODEL, input="Hi"),
            client.responses.create(model=MODEL, input="Ho"),
        )
        assert isinstance(whole, Response)
        assert whole.output_text == other.output_text == SAID
        async with client.responses.stream(model=MODEL, input="Hi") as stream:
            assert (await stream.get_final_response()).output_text == SAID
        text = await client.completions.create(model=MODEL, prompt="Hi", max_tokens=99)
        assert text.choices[0].text == SAID

    talk_async(service(ScriptedEngine(SAID)), work)


# --- text completions


def test_text_completions_are_asked_for() -> None:
    def work(client: OpenAI) -> None:
        whole = client.completions.create(model=MODEL, prompt=["Hi", "Ho"], logprobs=1, max_tokens=99)
        assert [choice.text for choice in whole.choices] == [SAID, SAID]
        assert [choice.finish_reason for choice in whole.choices] == ["stop", "stop"]
        assert whole.usage is not None

    talk(service(ScriptedEngine(SAID)), work)


def test_text_completions_are_streamed() -> None:
    def work(client: OpenAI) -> None:
        told = list(
            client.completions.create(
                model=MODEL, prompt="Hi", max_tokens=99, stream=True, stream_options={"include_usage": True}
            )
        )
        assert "".join(choice.text for chunk in told for choice in chunk.choices) == SAID
        assert told[-1].usage is not None

    # The package's type of a chunk has no null for the finish reason, which OpenAI sends until the last one.
    talk(service(ScriptedEngine(SAID)), work, strict=False)
