"""The events of a streamed response, whatever the deltas are: clients put the response together from them."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter
from sse_starlette import ServerSentEvent

from gateway.api.feed import Feed, Piece, Totals
from gateway.api.responses.answer import ResponseAnswer
from gateway.api.responses.request import ResponseRequest
from gateway.api.responses.response import WireResponse
from gateway.chat.logprobs import ShownLogprobs, TokenLogprob
from gateway.chat.reply import Delta, FinishReason
from gateway.chat.segments import CallDelta
from gateway.errors import ContextLengthExceeded, EngineFailure, GatewayError, InvalidImageUrl

Event = dict[str, Any]

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
LETTERS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
ENDS = {"completed": "stop", "incomplete": "length"}


class Told:
    """What stands in for a feed: these deltas, and then the error if there is one."""

    totals = Totals(prompt_tokens=9, completion_tokens=5, cached_tokens=4, image_tokens=0, reasoning_tokens=2)

    def __init__(self, deltas: Sequence[Delta], error: GatewayError | None = None) -> None:
        self._deltas = deltas
        self._error = error

    async def __aiter__(self) -> AsyncIterator[Piece]:
        for delta in self._deltas:
            yield Piece(0, delta)
        if self._error:
            raise self._error


def answer(kept: list[WireResponse]) -> ResponseAnswer:
    wanted = ResponseRequest.model_validate({"model": "m", "input": "Hi"})
    return ResponseAnswer(WireResponse.begun(wanted, "m", "resp_1", 5), True, kept.append)


def streamed(deltas: Sequence[Delta], error: GatewayError | None = None) -> list[Event]:
    """As `deliver` streams it."""
    sent: list[ServerSentEvent] = []
    kept: list[WireResponse] = []

    async def send() -> None:
        shape = answer(kept)
        try:
            async for each in shape.events(cast(Feed, Told(deltas, error))):
                sent.append(each)
        except GatewayError as raised:
            sent.extend(shape.broken(raised))

    asyncio.run(send())
    told = [parsed(each) for each in sent]
    assert [each.model_dump(mode="json") for each in kept] == ([] if error else [told[-1]["response"]])
    return told


def parsed(sent: ServerSentEvent) -> Event:
    kind, data, *rest = sent.encode().decode().split("\n")
    assert rest == ["", ""]
    told: Event = json.loads(data.removeprefix("data: "))
    assert kind == f"event: {told['type']}"
    return told


def whole(deltas: Sequence[Delta]) -> dict[str, Any]:
    response = asyncio.run(answer([]).whole(cast(Feed, Told(deltas))))
    return response.model_dump(mode="json")


def content(item: dict[str, Any]) -> str:
    """What an item says, whatever it is."""
    if item["type"] == "function_call":
        return str(item["arguments"])
    return "".join(part["text"] for part in item["content"])


def put_together(told: list[Event]) -> list[tuple[str, str]]:
    """Type and content of each item, by its events alone; every rule of the stream is checked on the way."""
    assert [each["sequence_number"] for each in told] == list(range(len(told)))
    for each in told:
        EVENTS.validate_python(each)
    assert [each["type"] for each in told[:2]] == ["response.created", "response.in_progress"]
    assert all("response" not in each for each in told[2:-1])
    items: list[tuple[str, str]] = []
    place = None  # of the item that is open
    for each in told[2:-1]:
        match each["type"].removeprefix("response."):
            case "output_item.added":
                assert place is None
                place = each["output_index"]
                assert place == len(items)
                id, said, logprobs = each["item"]["id"], "", []
                assert each["item"]["status"] == "in_progress"
            case "output_text.delta" | "reasoning_text.delta" | "function_call_arguments.delta":
                said += each["delta"]
                logprobs += each.get("logprobs", [])
            case "output_text.done" | "reasoning_text.done":
                assert (each["text"], each.get("logprobs", [])) == (said, logprobs)
            case "function_call_arguments.done":
                assert each["arguments"] == said
            case "content_part.done":
                assert each["part"]["text"] == said
            case "output_item.done":
                assert (each["item"]["id"], content(each["item"])) == (id, said)
                items.append((each["item"]["type"], said))
                assert told[-1]["response"]["output"][place] == each["item"]
                place = None
            case "error" | "content_part.added":
                pass
            case other:
                raise AssertionError(other)
        if "output_index" in each and place is not None:
            assert (each["output_index"], each.get("item_id", id)) == (place, id)
    assert place is None
    assert len(told[-1]["response"]["output"]) == len(items)
    return items


def put_together_by_openai(told: list[Event]) -> Any:
    """What `.stream()` of the openai package has at the end."""
    state: ResponseStreamState[None] = ResponseStreamState(input_tools=omit, text_format=omit)
    fired = [event for each in told for event in state.handle_event(EVENTS.validate_python(each))]
    return cast(Any, fired[-1]).response


@st.composite
def replies(draw: st.DrawFn) -> tuple[list[Delta], list[tuple[str, str]]]:
    """Deltas, and the items they tell."""
    items: list[tuple[str, str]] = []
    pieces: list[Delta] = []
    kinds = st.sampled_from(["message", "function_call"])
    reasoning = draw(st.booleans())
    num_calls = 0
    for kind in ["reasoning"] * reasoning + draw(st.lists(kinds, max_size=4)):
        texts = draw(st.lists(LETTERS, min_size=1, max_size=4))
        if kind == "function_call":
            pieces.append(Delta(calls=(CallDelta(num_calls, id=f"call_{num_calls}", name="look"),)))
            pieces += [Delta(calls=(CallDelta(num_calls, text),)) for text in texts]
            num_calls += 1
        else:
            pieces += [Delta(text) if kind == "message" else Delta(reasoning=text) for text in texts]
        if items and items[-1][0] == kind == "message":
            items[-1] = (kind, items[-1][1] + "".join(texts))
        else:
            items.append((kind, "".join(texts)))
    deltas: list[Delta] = []
    for piece in pieces:
        joined = _joined(deltas[-1], piece) if deltas else None
        if joined and draw(st.booleans()):
            deltas[-1] = joined
        else:
            deltas.append(piece)
    return deltas, items or [("message", "")]


def _joined(first: Delta, second: Delta) -> Delta | None:
    """As one delta, where that says the same."""
    text, reasoning = first.text + second.text, first.reasoning + second.reasoning
    if first.calls and (second.text or second.reasoning):
        continues = (
            first.calls[0].id is None and len(first.calls) == 1 and not (first.text or first.reasoning)
        )
        return Delta(text, reasoning, first.calls) if continues else None
    if first.text and second.reasoning:
        return None
    return Delta(text, reasoning, first.calls + second.calls)


@settings(deadline=None)  # the openai package builds its models when they are used first
@given(reply=replies(), status=st.sampled_from(["completed", "incomplete"]))
def test_a_stream_tells_each_item_once_and_whole(
    reply: tuple[list[Delta], list[tuple[str, str]]], status: str
) -> None:
    deltas, items = reply
    reason = cast(FinishReason, ENDS[status])
    told = streamed([*deltas, Delta(finish_reason=reason)])
    assert put_together(told) == items
    assert told[-1]["type"] == f"response.{status}"
    ended = told[-1]["response"]
    assert (ended["id"], ended["status"]) == (told[0]["response"]["id"], status)
    statuses = [item["status"] for item in ended["output"]]
    assert statuses == ["completed"] * (len(items) - 1) + [status]
    said = "".join(content for kind, content in items if kind == "message")
    assert put_together_by_openai(told).output_text == said


@settings(deadline=None)  # the openai package builds its models when they are used first
@given(reply=replies(), status=st.sampled_from(["completed", "incomplete"]))
def test_streamed_and_not_streamed_say_the_same(
    reply: tuple[list[Delta], list[tuple[str, str]]], status: str
) -> None:
    deltas = [*reply[0], Delta(finish_reason=cast(FinishReason, ENDS[status]))]

    def without_ids(response: dict[str, Any]) -> dict[str, Any]:
        output = [item | {"id": None} for item in response["output"]]
        return response | {"output": output, "completed_at": None}

    assert without_ids(whole(deltas)) == without_ids(streamed(deltas)[-1]["response"])


@settings(deadline=None)  # the openai package builds its models when they are used first
@given(reply=replies())
def test_a_stream_that_breaks_off_is_closed_and_then_says_why(
    reply: tuple[list[Delta], list[tuple[str, str]]],
) -> None:
    deltas, items = reply
    told = streamed(deltas, EngineFailure("The engine stopped."))
    assert put_together(told) == (items if deltas else [])
    assert told[-2] == {
        "sequence_number": len(told) - 2,
        "type": "error",
        "code": "engine_failure",
        "message": "The engine stopped.",
        "param": None,
    }
    failed = told[-1]["response"]
    assert (told[-1]["type"], failed["status"]) == ("response.failed", "failed")
    assert failed["error"] == {"code": "server_error", "message": "The engine stopped."}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ContextLengthExceeded(256, 300), "invalid_prompt"),
        (InvalidImageUrl("No such host."), "invalid_image_url"),
        (GatewayError("The server had an error."), "server_error"),
    ],
)
def test_a_failed_response_has_one_of_openais_codes(error: GatewayError, code: str) -> None:
    failed = streamed([], error)[-1]["response"]
    assert failed["error"] == {"code": code, "message": error.message}


def entry(letters: str | None, logprob: float = -0.5) -> ShownLogprobs:
    data = None if letters is None else letters.encode()
    return ShownLogprobs(TokenLogprob(letters or "<end>", data, logprob), (TokenLogprob("b", b"b", -9.0),))


def test_log_probabilities_come_with_the_text_and_are_told_whole_at_its_end() -> None:
    told = streamed(
        [
            Delta(reasoning="hm", logprobs=(entry("hm"),)),
            Delta("a", logprobs=(entry("a"),)),
            Delta(finish_reason="stop", logprobs=(entry(None, float("-inf")),)),
        ]
    )
    deltas = [each for each in told if each["type"] == "response.output_text.delta"]
    top = [{"token": "b", "bytes": [98], "logprob": -9.0}]
    first = {"token": "a", "bytes": [97], "logprob": -0.5, "top_logprobs": top}
    last = {"token": "<end>", "bytes": [], "logprob": -9999.0, "top_logprobs": top}
    assert [(each["delta"], each["logprobs"]) for each in deltas] == [("a", [first]), ("", [last])]
    assert put_together(told) == [("reasoning", "hm"), ("message", "a")]
    assert told[-1]["response"]["output"][1]["content"] == [
        {"type": "output_text", "text": "a", "annotations": [], "logprobs": [first, last]}
    ]
