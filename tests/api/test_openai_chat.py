"""The openai package against a real socket: chat completions, as its users write them. Every answer is
validated strictly."""

import json
from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from gateway.api.keys import ApiKey
from gateway.chat.reply import Delta
from gateway.chat.segments import CallDelta
from gateway.errors import EngineFailure
from tests.api.scripted_chat import scripted
from tests.api.service import MODEL, ScriptedEngine, open_door, service
from tests.api.test_openai_package import talk, talk_async

HI: list[Any] = [{"role": "user", "content": "Hi"}]
SAID = "one two three four five six seven eight"


class Weather(BaseModel):
    city: str
    degrees: int


WEATHER = {"city": "Rome", "degrees": 31}
PIECES = ("", '{"city": "Ro', 'me", "deg', 'rees": 31}')
CALL = tuple(
    Delta(calls=(CallDelta(0, piece, *(("call_1", "Weather") if place == 0 else ())),))
    for place, piece in enumerate(PIECES)
)
JSON = tuple(Delta(piece) for piece in PIECES[1:])
TOOL = openai.pydantic_function_tool(Weather)


def calling() -> Any:
    return service(ScriptedEngine(SAID), chat=scripted(CALL, ends="tool_calls"))


def test_an_answer_is_read_and_has_its_request_id() -> None:
    def use(client: OpenAI) -> None:
        answer = client.chat.completions.create(model=MODEL, messages=HI, n=2, logprobs=True, top_logprobs=1)
        assert [choice.message.content for choice in answer.choices] == ["A red pixel."] * 2
        assert answer.choices[0].logprobs
        assert answer._request_id

    talk(service(), use)


def test_a_call_is_parsed_by_the_helpers_whole_and_streamed() -> None:
    def use(client: OpenAI) -> None:
        whole = client.chat.completions.parse(model=MODEL, messages=HI, tools=[TOOL])
        with client.chat.completions.stream(model=MODEL, messages=HI, tools=[TOOL]) as stream:
            kinds = [event.type for event in stream]
            streamed = stream.get_final_completion()
        assert "tool_calls.function.arguments.done" in kinds
        for completion in (whole, streamed):
            (choice,) = completion.choices
            (call,) = choice.message.tool_calls or []
            assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
            assert (call.id, call.type, call.function.name) == ("call_1", "function", "Weather")
            assert call.function.parsed_arguments == Weather.model_validate(WEATHER)

    talk(calling(), use)


def test_an_answer_is_parsed_into_the_callers_own_type() -> None:
    def use(client: OpenAI) -> None:
        whole = client.chat.completions.parse(model=MODEL, messages=HI, response_format=Weather)
        with client.chat.completions.stream(model=MODEL, messages=HI, response_format=Weather) as stream:
            streamed = stream.get_final_completion()
        assert whole.choices[0].message.parsed == Weather.model_validate(WEATHER)
        assert streamed.choices[0].message.parsed == Weather.model_validate(WEATHER)

    talk(service(ScriptedEngine(SAID), chat=scripted(JSON)), use)


def test_an_answer_that_was_cut_is_told_apart() -> None:
    def use(client: OpenAI) -> None:
        with pytest.raises(openai.LengthFinishReasonError):
            client.chat.completions.parse(model=MODEL, messages=HI, response_format=Weather)

    talk(service(ScriptedEngine(SAID), chat=scripted(JSON[:2], ends="length")), use)


def test_a_loop_with_a_tool_goes_round() -> None:
    def use(client: OpenAI) -> None:
        answer = client.chat.completions.create(model=MODEL, messages=HI, tools=[TOOL])
        message = answer.choices[0].message
        assert message.tool_calls
        history: list[Any] = [*HI, message]
        for call in message.tool_calls:
            assert call.type == "function"
            assert json.loads(call.function.arguments) == WEATHER
            history.append({"role": "tool", "tool_call_id": call.id, "content": "31"})
        again = client.chat.completions.create(model=MODEL, messages=history, tools=[TOOL])
        assert again.choices[0].finish_reason == "tool_calls"

    talk(calling(), use)


def test_the_async_client_gets_the_same_stream() -> None:
    async def use(client: openai.AsyncOpenAI) -> None:
        asked: Any = {"model": MODEL, "messages": HI, "stream_options": {"include_usage": True}}
        stream = await client.chat.completions.create(stream=True, **asked)
        chunks = [chunk async for chunk in stream]
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert text == "A red pixel."
        assert chunks[-1].usage
        assert chunks[-1].choices == []

    talk_async(service(), use)


@pytest.mark.parametrize(
    ("fields", "kind", "code", "param"),
    [
        ({"model": "x"}, openai.NotFoundError, "model_not_found", None),
        ({"n": 0}, openai.BadRequestError, "integer_below_min_value", "n"),
        (
            {"messages": [{"role": "user", "content": "word " * 300}]},
            openai.BadRequestError,
            "context_length_exceeded",
            "messages",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_arrive_as_the_packages_own(
    fields: dict[str, Any], kind: type[openai.APIStatusError], code: str, param: str | None, stream: bool
) -> None:
    def use(client: OpenAI) -> None:
        asked: Any = {"model": MODEL, "messages": HI, "stream": stream} | fields
        with pytest.raises(kind) as caught:
            client.chat.completions.create(**asked)
        error = caught.value
        assert (error.code, error.param, error.type) == (code, param, "invalid_request_error")
        assert error.request_id

    talk(service(), use)


def test_what_cannot_get_better_is_not_tried_again() -> None:
    engine = ScriptedEngine("", error=EngineFailure("It stopped."))

    def use(client: OpenAI) -> None:
        with pytest.raises(openai.InternalServerError):
            client.with_options(max_retries=2).chat.completions.create(model=MODEL, messages=HI)

    talk(service(engine), use)
    assert len(engine.requests) == 1


def test_a_server_that_is_full_is_asked_again_when_it_says() -> None:
    door = open_door(0)

    def use(client: OpenAI) -> None:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model=MODEL, messages=HI)
        assert caught.value.response.headers["retry-after"] == "1"
        assert caught.value.code == "overloaded"

    talk(service(door=door), use)


def test_without_the_right_key_nobody_comes_in() -> None:
    def use(client: OpenAI) -> None:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(model=MODEL, messages=HI)
        assert caught.value.code == "invalid_api_key"

    talk(service(keys=[ApiKey("a", bytes(32))]), use)
