"""What the fields of a request mean to the chat room."""

from typing import Any

import pytest

from gateway.api.chat_request import ChatRequest
from gateway.api.conversation import conversation
from gateway.chat.content import ImagePart, Message, TextPart, ToolCall
from gateway.chat.conversation import Conversation, JsonReply, Tool, ToolUse
from tests.api.service import body, image, text

SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}
LOOK = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA}}
GO = {"type": "function", "function": {"name": "go", "strict": True}}
TOOLS = (Tool("look", "Looks.", SCHEMA), Tool("go", strict=True))


def meant(**fields: Any) -> Conversation:
    return conversation(ChatRequest.model_validate(body(**fields)))


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {
        "type": "allowed_tools",
        "allowed_tools": {"mode": mode, "tools": [named(each) for each in names]},
    }


@pytest.mark.parametrize(
    ("choice", "use"),
    [
        (None, ToolUse(("look", "go"))),
        ("auto", ToolUse(("look", "go"))),
        ("required", ToolUse(("look", "go"), required=True)),
        (named("go"), ToolUse(("go",), required=True, parallel=False)),
        (allowed("auto", "go"), ToolUse(("go",))),
        (allowed("required", "go", "look", "go"), ToolUse(("go", "look"), required=True)),
    ],
)
def test_a_choice_says_which_tools_may_be_called_and_whether_one_must(choice: object, use: ToolUse) -> None:
    asked = meant(tools=[LOOK, GO], tool_choice=choice)
    assert (asked.tools, asked.use) == (TOOLS, use)


def test_with_none_the_model_is_told_of_no_tools() -> None:
    asked = meant(tools=[LOOK, GO], tool_choice="none")
    assert (asked.tools, asked.use) == ((), ToolUse(()))


@pytest.mark.parametrize("choice", ["auto", "required", named("go")])
@pytest.mark.parametrize("parallel", [False, True])
def test_several_calls_are_the_clients_choice(choice: object, parallel: bool) -> None:
    asked = meant(tools=[LOOK, GO], tool_choice=choice, parallel_tool_calls=parallel)
    assert asked.use.parallel is parallel


@pytest.mark.parametrize(
    ("form", "reply"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonReply(None, "response_format")),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
            JsonReply(SCHEMA, "response_format.json_schema.schema", "x"),
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "description": "y", "strict": False}},
            JsonReply(None, "response_format.json_schema.schema", "x"),
        ),
    ],
)
def test_a_reply_can_be_asked_to_be_json(form: object, reply: JsonReply | None) -> None:
    assert meant(response_format=form).json == reply


def test_a_schema_stays_as_it_was_written() -> None:
    strange = {"const": None, "enum": [None, 1.0, "1"], "default": None, "x-y": {"a": [None]}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": strange}}
    json = meant(response_format=form).json
    assert json is not None
    assert json.schema == strange
    tool = {"type": "function", "function": {"name": "look", "parameters": strange}}
    assert meant(tools=[tool]).tools[0].parameters == strange


@pytest.mark.parametrize(
    ("fields", "variables"),
    [
        ({}, {}),
        ({"reasoning_effort": "none"}, {"enable_thinking": False}),
        ({"reasoning_effort": "minimal"}, {"enable_thinking": False}),
        ({"reasoning_effort": "low"}, {"enable_thinking": True}),
        ({"reasoning_effort": "xhigh"}, {"enable_thinking": True}),
        ({"chat_template_kwargs": {"enable_thinking": False, "x": 1}}, {"enable_thinking": False, "x": 1}),
        (
            {"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": False, "y": None}},
            {"enable_thinking": False, "y": None},
        ),
    ],
)
def test_thinking_is_a_variable_of_the_template(fields: dict[str, Any], variables: dict[str, Any]) -> None:
    assert meant(**fields).variables == variables


def said(**message: Any) -> Message:
    (only,) = meant(messages=[{"role": "user", **message}]).messages
    return only


def test_pictures_beside_the_content_come_before_it() -> None:
    urls = ["data:image/png;base64,AAAA", "https://x.example/a.png", "iVBORw0KGgo="]
    links = [urls[0], urls[1], "data:image/png;base64,iVBORw0KGgo="]
    shown = [ImagePart(link, f"messages[0].images[{place}]") for place, link in enumerate(links)]
    assert said(content="What?", images=urls).content == (*shown, TextPart("What?"))
    assert said(content=None, images=urls).content == tuple(shown)
    inner = ImagePart("data:,", "messages[0].content[1].image_url.url")
    both = said(content=[text("x"), image("data:,")], images=urls[:1])
    assert both.content == (shown[0], TextPart("x"), inner)


@pytest.mark.parametrize("content", [None, [{"type": "refusal", "refusal": "No."}]])
def test_a_refusal_of_the_past_is_what_was_said(content: object) -> None:
    refusal = "No." if content is None else None
    assert said(role="assistant", content=content, refusal=refusal) == Message(
        "assistant", (TextPart("No."),)
    )


def test_a_path_beside_the_content_is_base64_and_nothing_else() -> None:
    part = said(content="x", images=["/etc/passwd"]).content[0]
    assert part == ImagePart("data:image/png;base64,/etc/passwd", "messages[0].images[0]")


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({}, ""),
        ({"reasoning_content": "Hm."}, "Hm."),
        ({"reasoning": "Hm."}, "Hm."),
        ({"reasoning_content": None, "reasoning": None}, ""),
        ({"reasoning_content": "Hm.", "reasoning": "Oh."}, "Hm."),
    ],
)
def test_what_was_thought_before_is_kept(fields: dict[str, Any], reasoning: str) -> None:
    assert said(role="assistant", content="Two.", **fields) == Message(
        "assistant", (TextPart("Two."),), reasoning=reasoning
    )


def test_every_role_name_call_and_result_of_the_past_is_kept() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": '}}
    history = [
        {"role": "developer", "content": "Be terse."},
        {"role": "user", "content": "Weather?", "name": "Ann"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "name": "look", "content": "blue"},
    ]
    assert meant(messages=history).messages == (
        Message("developer", (TextPart("Be terse."),)),
        Message("user", (TextPart("Weather?"),), name="Ann"),
        Message("assistant", (TextPart(""),), tool_calls=(ToolCall("1", "look", '{"at": '),)),
        Message("tool", (TextPart("blue"),), name="look", tool_call_id="1"),
    )
