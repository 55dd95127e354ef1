"""What a request to /v1/responses may hold, and how OpenAI would say what is wrong with it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.api.refusal import refusal
from gateway.api.responses.request import ResponseRequest
from tests.api.test_chat_request import ANYTHING

TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}
FIELDS = list(ResponseRequest.model_fields)


def asking(**fields: object) -> dict[str, Any]:
    return {"model": "m", "input": "Hi"} | fields


def items(*each: object) -> dict[str, Any]:
    return asking(input=list(each))


def parts(*each: object) -> dict[str, Any]:
    return items({"role": "user", "content": list(each)})


def refused(request: dict[str, Any]) -> tuple[str | None, str | None, str]:
    with pytest.raises(ValidationError) as caught:
        ResponseRequest.model_validate(request)
    error = refusal(caught.value)
    return error.code, error.param, error.message


@pytest.mark.parametrize(
    ("request_body", "code", "param", "message"),
    [
        ({"input": "Hi"}, None, None, "you must provide a model parameter"),
        ({"model": "m"}, "missing_required_parameter", "input", "Missing required parameter: 'input'."),
        (
            asking(input=None),
            "missing_required_parameter",
            "input",
            "Missing required parameter: 'input'.",
        ),
        (
            asking(input=5),
            "invalid_type",
            "input",
            "Invalid type for 'input': expected one of a string or array of objects, "
            "but got an integer instead.",
        ),
        (
            items(),
            "empty_array",
            "input",
            "Invalid 'input': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
        ),
        (
            items(None),
            "invalid_type",
            "input[0]",
            "Invalid type for 'input[0]': expected an object, but got null instead.",
        ),
        (
            items({"content": "Hi"}),
            "missing_required_parameter",
            "input[0].type",
            "Missing required parameter: 'input[0].type'.",
        ),
        (
            items({"type": "web_search_call", "id": "ws_1"}),
            "invalid_value",
            "input[0].type",
            "Invalid value: 'web_search_call'. Supported values are: 'message', 'function_call', "
            "'function_call_output', 'reasoning', and 'item_reference'.",
        ),
        (
            items({"role": "tool", "content": "Hi"}),
            "invalid_value",
            "input[0].role",
            "Invalid value: 'tool'. Supported values are: 'user', 'assistant', 'system', and 'developer'.",
        ),
        (
            items({"role": "user"}),
            "missing_required_parameter",
            "input[0].content",
            "Missing required parameter: 'input[0].content'.",
        ),
        (
            items({"role": "user", "content": 5}),
            "invalid_type",
            "input[0].content",
            "Invalid type for 'input[0].content': expected one of a string or array of objects, "
            "but got an integer instead.",
        ),
        (
            parts({"type": "text", "text": "Hi"}),
            "invalid_value",
            "input[0].content[0].type",
            "Invalid value: 'text'. Supported values are: 'input_text', 'input_image', 'output_text', "
            "and 'refusal'.",
        ),
        (
            parts({"type": "input_text"}),
            "missing_required_parameter",
            "input[0].content[0].text",
            "Missing required parameter: 'input[0].content[0].text'.",
        ),
        (
            parts({"type": "input_image"}),
            "missing_required_parameter",
            "input[0].content[0].image_url",
            "Missing required parameter: 'input[0].content[0].image_url'.",
        ),
        (
            parts({"type": "input_image", "image_url": {"url": "data:,"}}),
            "invalid_type",
            "input[0].content[0].image_url",
            "Invalid type for 'input[0].content[0].image_url': expected a string, but got an object instead.",
        ),
        (
            parts({"type": "input_image", "file_id": "file-1"}),
            "unsupported_value",
            "input[0].content[0].file_id",
            "Unsupported value: 'input[0].content[0].file_id' does not support 'file-1'. "
            "Supported so far: null.",
        ),
        (
            items({"type": "function_call_output", "output": "31 C"}),
            "missing_required_parameter",
            "input[0].call_id",
            "Missing required parameter: 'input[0].call_id'.",
        ),
        (
            asking(tools=[{"type": "web_search"}]),
            "invalid_value",
            "tools[0].type",
            "Invalid value: 'web_search'. Supported values are: 'function'.",
        ),
        (
            asking(tools=[TOOL, TOOL]),
            "invalid_value",
            "tools",
            "Invalid 'tools'. Two tools have the name 'look'.",
        ),
        (
            asking(tools=[{"type": "function", "name": "a b"}]),
            "invalid_value",
            "tools[0].name",
            "Invalid 'tools[0].name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        ),
        (
            asking(tool_choice="maybe"),
            "invalid_value",
            "tool_choice",
            "Invalid value: 'maybe'. Supported values are: 'none', 'auto', and 'required'.",
        ),
        (
            asking(tool_choice="required"),
            None,
            "tool_choice",
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
        ),
        (
            asking(tools=[TOOL], tool_choice={"type": "function"}),
            "missing_required_parameter",
            "tool_choice.name",
            "Missing required parameter: 'tool_choice.name'.",
        ),
        (
            asking(tools=[TOOL], tool_choice={"type": "function", "name": "go"}),
            None,
            "tool_choice",
            "Tool choice 'go' not found in 'tools' parameter.",
        ),
        (
            asking(tools=[TOOL], tool_choice={"type": "allowed_tools", "tools": [{"name": "look"}]}),
            "missing_required_parameter",
            "tool_choice.mode",
            "Missing required parameter: 'tool_choice.mode'.",
        ),
        (
            asking(text={"format": {"type": "json_schema", "name": "shape"}}),
            "missing_required_parameter",
            "text.format.schema",
            "Missing required parameter: 'text.format.schema'.",
        ),
        (
            asking(text={"format": {"type": "sound"}}),
            "invalid_value",
            "text.format.type",
            "Invalid value: 'sound'. Supported values are: 'text', 'json_object', and 'json_schema'.",
        ),
        (
            asking(reasoning={"effort": "huge"}),
            "invalid_value",
            "reasoning.effort",
            "Invalid value: 'huge'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', "
            "'xhigh', and 'max'.",
        ),
        (
            asking(max_output_tokens=0),
            "integer_below_min_value",
            "max_output_tokens",
            "Invalid 'max_output_tokens': integer below minimum value. "
            "Expected a value >= 1, but got 0 instead.",
        ),
        (
            asking(top_logprobs=21),
            "integer_above_max_value",
            "top_logprobs",
            "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20, "
            "but got 21 instead.",
        ),
        (
            asking(metadata={"k": 5}),
            "invalid_value",
            "metadata",
            "Invalid 'metadata'. Expected up to 16 strings of up to 512 characters, with keys of up to 64.",
        ),
        (
            asking(truncation="auto"),
            "invalid_value",
            "truncation",
            "Invalid 'truncation'. The input is never truncated: what does not fit is refused.",
        ),
        (
            asking(store="yes"),
            "invalid_type",
            "store",
            "Invalid type for 'store': expected a boolean, but got a string instead.",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_openais_words(
    request_body: dict[str, Any], code: str | None, param: str | None, message: str
) -> None:
    assert refused(request_body) == (code, param, message)


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("background", True, "background"),
        ("conversation", "conv_1", "conversation"),
        ("prompt", {"id": "pmpt_1"}, "prompt"),
        ("context_management", [{"type": "compaction"}], "context_management"),
        ("moderation", {"model": "m"}, "moderation"),
        ("n", 2, "n"),
        ("text", {"verbosity": "low"}, "text.verbosity"),
    ],
)
def test_what_is_not_served_is_refused_by_name(field: str, value: object, param: str) -> None:
    code, named, message = refused(asking(**{field: value}))
    assert (code, named) == ("unsupported_value", param)
    assert message.startswith(f"Unsupported value: '{param}' does not support ")


def test_neutral_values_null_and_unknown_keys_change_nothing() -> None:
    neutral = {
        "truncation": "disabled",
        "background": False,
        "service_tier": "auto",
        "include": ["reasoning.encrypted_content"],
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tools": [],
        "tool_choice": "auto",
        "stream_options": {"include_obfuscation": False},
        "prompt_cache_retention": "24h",
        "typical_p": 0.1,
    }
    nulls = {name: None for name in FIELDS if name not in ("model", "input")}
    plain = ResponseRequest.model_validate(asking())
    changing = {"include", "service_tier", "prompt_cache_retention", "stream_options"}
    assert ResponseRequest.model_validate(asking(**neutral)).model_dump(exclude=changing) == plain.model_dump(
        exclude=changing
    )
    assert ResponseRequest.model_validate(asking(**nulls)) == plain


@pytest.mark.parametrize(("role", "kind"), [("user", "input_text"), ("assistant", "output_text")])
def test_a_string_is_one_part_of_the_kind_of_its_role(role: str, kind: str) -> None:
    part: dict[str, Any] = {"type": kind, "text": "Hi"}
    plain, written = (
        ResponseRequest.model_validate(items({"role": role, "content": content})).input
        for content in ("Hi", [part])
    )
    assert plain == written
    assert plain is not None
    assert plain[0].model_dump()["content"][0]["type"] == kind


def test_an_item_is_taken_back_as_it_was_told() -> None:
    told: list[dict[str, Any]] = [
        {
            "id": "rs_1",
            "type": "reasoning",
            "status": None,
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
            "encrypted_content": None,
        },
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                {
                    "type": "output_text",
                    "text": "Red.",
                    "annotations": [{"type": "url_citation", "url": "x"}],
                    "logprobs": [{"token": "Red."}],
                }
            ],
        },
        {
            "id": "fc_1",
            "type": "function_call",
            "status": "completed",
            "call_id": "call_1",
            "name": "look",
            "arguments": "{}",
        },
    ]
    read = ResponseRequest.model_validate(items(*told)).input
    assert [item.model_dump(mode="json") for item in read or []] == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "status": "completed",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
        },
        told[1] | {"content": [{"type": "output_text", "text": "Red.", "annotations": [], "logprobs": []}]},
        told[2],
    ]


@given(field=st.sampled_from(FIELDS), value=ANYTHING)
def test_whatever_a_field_holds_is_accepted_or_refused_by_its_name(field: str, value: object) -> None:
    try:
        ResponseRequest.model_validate(asking(**{field: value}))
    except ValidationError as error:
        param = refusal(error).param
        assert param is None if field == "model" and value is None else (param or "").startswith(field)
