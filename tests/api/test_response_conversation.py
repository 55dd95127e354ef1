"""What the model is asked by /v1/responses."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.api.responses.conversation import placed_messages, renamed
from gateway.api.responses.items import InputText, MessageItem
from gateway.chat.content import ImagePart, Message, TextPart, ToolCall
from gateway.chat.conversation import JsonReply, Tool, ToolUse
from gateway.engine.prompt import Identity
from gateway.errors import InvalidRequest
from tests.api.responding import SAID, TOOL, answered, ask, asked_of, refused, said
from tests.api.scripted_chat import scripted
from tests.api.service import (
    RED_PIXEL,
    ScriptedEngine,
    service,
)


def test_items_become_messages_and_a_turn_of_the_assistants_becomes_one() -> None:
    chat = scripted()
    ask(
        service(ScriptedEngine(SAID), chat=chat),
        [
            {"role": "developer", "content": "Be terse."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Look"},
                    {"type": "input_image", "image_url": RED_PIXEL, "detail": "low"},
                ],
            },
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
            {"role": "assistant", "content": "I look."},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "go", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c2", "output": "gone"},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [{"type": "input_text", "text": "red"}],
            },
            {"type": "function_call", "call_id": "c3", "name": "go", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c3", "output": "home"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "user", "content": "Why?"},
        ],
        instructions="Be good.",
    )
    image = ImagePart(RED_PIXEL, "input[1].content[1].image_url", "low")
    assert list(asked_of(chat).messages) == [
        said("system", "Be good."),
        said("developer", "Be terse."),
        Message("user", (TextPart("Look"), image)),
        said(
            "assistant",
            "I look.",
            reasoning="Hm.",
            tool_calls=(ToolCall("c1", "look", "{}"), ToolCall("c2", "go", "{}")),
        ),
        said("tool", "gone", name="go", tool_call_id="c2"),
        said("tool", "red", name="look", tool_call_id="c1"),
        Message("assistant", (), tool_calls=(ToolCall("c3", "go", "{}"),)),
        said("tool", "home", name="go", tool_call_id="c3"),
        said("assistant", "No."),
        said("user", "Why?"),
    ]


def test_reasoning_that_was_cut_off_is_not_shown_to_the_model() -> None:
    chat = scripted()
    thought = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
    later = [{"role": "user", "content": "So?"}, {"role": "assistant", "content": "Red."}]
    ask(service(ScriptedEngine(SAID), chat=chat), [{"role": "user", "content": "Hi"}, thought, *later])
    assert list(asked_of(chat).messages) == [
        said("user", "Hi"),
        said("user", "So?"),
        said("assistant", "Red."),
    ]


TOOLS = [TOOL | {"description": "Looks.", "strict": True}, {"type": "function", "name": "go"}]


@pytest.mark.parametrize(
    ("fields", "use"),
    [
        ({}, ToolUse(("look", "go"))),
        ({"tool_choice": "none"}, ToolUse(())),
        ({"tool_choice": "required"}, ToolUse(("look", "go"), required=True)),
        ({"parallel_tool_calls": False}, ToolUse(("look", "go"), parallel=False)),
        (
            {"tool_choice": {"type": "function", "name": "go"}},
            ToolUse(("go",), required=True, parallel=False),
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"name": "go"}]}},
            ToolUse(("go",), required=True),
        ),
    ],
)
def test_tools_and_their_choice_reach_the_model(fields: dict[str, Any], use: ToolUse) -> None:
    chat = scripted()
    answered(service(ScriptedEngine(SAID), chat=chat), tools=TOOLS, **fields)
    tools = (Tool("look", "Looks.", {"type": "object"}, strict=True), Tool("go"))
    assert (asked_of(chat).tools, asked_of(chat).use) == (tools if use.allowed else (), use)


SCHEMA = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("form", "wish"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonReply(None, "text.format")),
        (
            {"type": "json_schema", "name": "shape", "schema": SCHEMA, "strict": True},
            JsonReply(SCHEMA, "text.format.schema", "shape"),
        ),
    ],
)
def test_the_form_of_the_answer_reaches_the_model_and_comes_back(
    form: dict[str, Any], wish: JsonReply | None
) -> None:
    chat = scripted()
    answer = answered(service(ScriptedEngine(SAID), chat=chat), text={"format": form})
    assert asked_of(chat).json == wish
    assert answer["text"] == {"format": form, "verbosity": "medium"}


@pytest.mark.parametrize(
    ("fields", "variables"),
    [
        ({}, {}),
        ({"reasoning": {"effort": "none"}}, {"enable_thinking": False}),
        ({"reasoning": {"effort": "high", "summary": "auto"}}, {"enable_thinking": True}),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
    ],
)
def test_effort_turns_thinking_on_or_off(fields: dict[str, Any], variables: dict[str, Any]) -> None:
    chat = scripted()
    answered(service(ScriptedEngine(SAID), chat=chat), **fields)
    assert asked_of(chat).variables == variables


@pytest.mark.parametrize(
    ("param", "renamed_param"),
    [
        ("messages", "input"),
        ("messages[0]", "instructions"),
        ("messages[2].content", "input[1].content"),
        ("tools[3].function.parameters", "tools[3].parameters"),
        ("text.format.schema", "text.format.schema"),
        (None, None),
    ],
)
def test_what_is_wrong_with_a_chat_is_told_of_a_response(
    param: str | None, renamed_param: str | None
) -> None:
    items = [MessageItem(role="user", content=[InputText(text=word)]) for word in ("Hi", "Ho")]
    told = placed_messages("Be good.", [], items)
    error = renamed(InvalidRequest(f"Invalid '{param}'.", param=param, code="c"), told)
    assert (error.message, error.param, error.code) == (f"Invalid '{renamed_param}'.", renamed_param, "c")


def test_sampling_and_the_name_of_the_conversation_reach_the_engine() -> None:
    engine = ScriptedEngine()
    answered(service(engine), temperature=0.0, top_p=0.5, max_output_tokens=7, prompt_cache_key="k", seed=4)
    (request,) = engine.requests
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed) == (0.0, 0.5, 7, 4)
    assert request.identity == Identity("", "k", ephemeral=False)


PARTS = st.sampled_from(
    [
        {"type": "input_text", "text": "Hi"},
        {"type": "output_text", "text": "Ho", "annotations": [], "logprobs": None},
        {"type": "refusal", "refusal": "No."},
        {"type": "input_image", "image_url": RED_PIXEL},
        {"type": "input_image", "image_url": "ftp://x/y"},
    ]
)
ITEMS = st.one_of(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system", "developer", "tool"]),
            "content": st.one_of(st.text(max_size=4), st.lists(PARTS, max_size=2)),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("function_call"),
            "call_id": st.sampled_from("ab"),
            "name": st.text(max_size=3),
            "arguments": st.sampled_from(["{}", '{"at": 1}', "{", "5"]),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("function_call_output"),
            "call_id": st.sampled_from("ab"),
            "output": st.one_of(st.text(max_size=4), st.lists(PARTS, max_size=2)),
        }
    ),
    st.just({"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}),
)


@settings(deadline=None, max_examples=60)
@given(asked=st.lists(ITEMS, min_size=1, max_size=5), more=st.lists(ITEMS, max_size=2), stream=st.booleans())
def test_any_items_are_answered_or_refused_by_name(
    asked: list[dict[str, Any]], more: list[dict[str, Any]], stream: bool
) -> None:
    app = service()
    response = ask(app, asked)
    if response.status_code == 200:
        response = ask(app, more or None, previous_response_id=response.json()["id"], stream=stream)
    if response.status_code != 200:
        param = refused(response)["param"]
        assert param == "previous_response_id" or param.startswith("input"), response.text
