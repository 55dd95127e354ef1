"""What clients get to see of tool calls, reasoning and several choices, whole and streamed."""

import json
import logging
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.chat.reply import Delta
from gateway.chat.segments import CallDelta
from tests.api.scripted_chat import ScriptedChat, scripted
from tests.api.service import ScriptedEngine, ask, body, call, events, image, num_prompt_tokens, service, text

SAID = "one two three four five six seven eight"  # more tokens than any script here has deltas
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALLS = (
    Delta(calls=(CallDelta(0, id="call_1", name="look"),)),
    Delta(calls=(CallDelta(0, '{"at": '),)),
    Delta(calls=(CallDelta(0, '"sky"}'), CallDelta(1, id="call_2", name="go", arguments="{}"))),
)
TOLD_CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "go", "arguments": "{}"}},
]


def put_together(chunks: list[Any]) -> ChatCompletion:
    """By the openai package, which is particular about chunks."""
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    return state.current_completion_snapshot


def test_calls_alone_have_null_for_content() -> None:
    chat = scripted(CALLS, ends="tool_calls")
    answer = ask(service(ScriptedEngine(SAID), chat=chat), tools=[TOOL]).json()
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "refusal": None, "tool_calls": TOLD_CALLS},
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ]
    ChatCompletion.model_validate(answer, strict=True)


def test_a_streamed_call_tells_id_name_and_type_once() -> None:
    chat = scripted(CALLS, ends="tool_calls")
    *chunks, done = events(ask(service(ScriptedEngine(SAID), chat=chat), tools=[TOOL], stream=True))
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": None, "refusal": None},
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"at": '}}]},
        {
            "tool_calls": [
                {"index": 0, "function": {"arguments": '"sky"}'}},
                {
                    "index": 1,
                    "id": "call_2",
                    "type": "function",
                    "function": {"name": "go", "arguments": "{}"},
                },
            ]
        },
        {},
    ]
    whole = put_together(chunks).choices[0]
    assert (whole.message.content, whole.finish_reason) == (None, "tool_calls")
    calls = [call.model_dump() for call in whole.message.tool_calls or []]
    assert [{key: call[key] for key in ("id", "type")} for call in calls] == [
        {key: call[key] for key in ("id", "type")} for call in TOLD_CALLS
    ]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{"at": "sky"}, {}]


def test_reasoning_is_told_beside_the_content() -> None:
    script = (Delta(reasoning="Hm, "), Delta(reasoning="two."), Delta("Two"), Delta("."))
    app = service(ScriptedEngine(SAID), chat=scripted(script))
    answer = ask(app).json()
    message = answer["choices"][0]["message"]
    assert answer["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    assert message == {
        "role": "assistant",
        "content": "Two.",
        "refusal": None,
        "reasoning_content": "Hm, two.",
    }
    *chunks, _ = events(ask(service(ScriptedEngine(SAID), chat=scripted(script)), stream=True))
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"reasoning_content": "Hm, "},
        {"reasoning_content": "two."},
        {"content": "Two"},
        {"content": "."},
        {},
    ]


def test_text_and_a_call_in_one_answer_are_both_told() -> None:
    script = (Delta("Let me see."), *CALLS)
    chat = scripted(script, ends="tool_calls")
    message = ask(service(ScriptedEngine(SAID), chat=chat)).json()["choices"][0]["message"]
    assert (message["content"], message["tool_calls"]) == ("Let me see.", TOLD_CALLS)
    chat = scripted(script, ends="tool_calls")
    *chunks, _ = events(ask(service(ScriptedEngine(SAID), chat=chat), stream=True))
    assert chunks[0]["choices"][0]["delta"]["content"] == ""
    assert put_together(chunks).choices[0].message.content == "Let me see."


def test_several_choices_have_an_index_and_count_the_prompt_once() -> None:
    chat = scripted((Delta("a"),), (Delta("b"), Delta("c")), (Delta("d"),))
    engine = ScriptedEngine(SAID, num_cached=2)
    answer = ask(service(engine, chat=chat), n=3, seed=2**63 - 1).json()
    assert [(each["index"], each["message"]["content"]) for each in answer["choices"]] == [
        (0, "a"),
        (1, "bc"),
        (2, "d"),
    ]
    num_prompt = num_prompt_tokens()
    assert answer["usage"]["prompt_tokens"] == num_prompt
    assert answer["usage"]["completion_tokens"] == 3 * num_said()
    assert answer["usage"]["total_tokens"] == num_prompt + 3 * num_said()
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
    ChatCompletion.model_validate(answer, strict=True)


def num_said() -> int:
    return int(ask(service(ScriptedEngine(SAID))).json()["usage"]["completion_tokens"])


def test_several_streamed_choices_each_have_one_role_and_one_end() -> None:
    chat = scripted((Delta("a"), Delta("b")), (Delta("c"), Delta("d")))
    response = ask(
        service(ScriptedEngine(SAID), chat=chat), n=2, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last, done = events(response)
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in (*chunks, last)}) == 1
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 2 * num_said())
    for index, said in enumerate(("ab", "cd")):
        own = [each for chunk in chunks for each in chunk["choices"] if each["index"] == index]
        assert [each["delta"].get("role") for each in own] == ["assistant"] + [None] * (len(own) - 1)
        assert [each["finish_reason"] for each in own] == [None] * (len(own) - 1) + ["stop"]
        assert put_together(chunks).choices[index].message.content == said


@pytest.mark.parametrize(("seed", "seeds"), [(7, [7, 8, 9]), (-1, [2**64 - 1, 0, 1]), (None, [None] * 3)])
def test_choices_draw_differently_and_repeatably_from_one_prompt(seed: int | None, seeds: list[int]) -> None:
    engine, chat = ScriptedEngine(SAID), ScriptedChat()
    assert ask(service(engine, chat=chat), n=3, seed=seed).status_code == 200  # type: ignore[arg-type]
    assert [request.sampling.seed for request in engine.requests] == seeds
    assert len({request.id for request in engine.requests}) == 3
    assert len({id(request.prompt) for request in engine.requests}) == 1
    assert len(chat.asked) == 1


def test_the_grammar_of_the_turn_is_what_the_engine_follows() -> None:
    engine = ScriptedEngine(SAID)
    ask(service(engine, chat=scripted(grammar='{"grammars": []}')), n=2)
    assert [request.sampling.grammar for request in engine.requests] == ['{"grammars": []}'] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_tools_left_out_are_named_in_a_header_and_in_the_log(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.access")
    app = service(chat=scripted((Delta("a"),), tools_left_out=True))
    assert ask(app, tools=[TOOL], stream=stream).headers["x-axgate-ignored"] == "tools"
    assert [record.__dict__["facts"]["ignored"] for record in caplog.records] == ["tools"]
    app = service(chat=scripted((Delta("a"),)))
    assert "x-axgate-ignored" not in ask(app, tools=[TOOL], stream=stream).headers


def test_tokens_of_pictures_are_counted() -> None:
    usage = call(service(), json=body([image(), text("x")])).json()["usage"]
    assert usage["prompt_tokens_details"]["image_tokens"] == 36
    assert usage["prompt_tokens"] > 36
