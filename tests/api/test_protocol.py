"""What a request may hold, and how OpenAI would say what is wrong with it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.api.protocol import CompletionRequest
from gateway.api.refusal import refusal
from tests.api.service import body, image, text

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
KEYS = ["role", "content", "type", "text", "image_url", "url", "function", "name", "include_usage"]
WORDS = ["user", "assistant", "text", "image_url", "function", "none", ""]
URL = "messages[0].content[1].image_url.url"


def refused(request: dict[str, Any]) -> tuple[str | None, str | None, str]:
    with pytest.raises(ValidationError) as caught:
        CompletionRequest.model_validate(request)
    error = refusal(caught.value)
    return error.code, error.param, error.message


def messages(*each: object) -> dict[str, Any]:
    return {"model": "m", "messages": list(each)}


@pytest.mark.parametrize(
    ("request_body", "code", "param", "message"),
    [
        ({"messages": []}, None, None, "you must provide a model parameter"),
        (body(model=None), None, None, "you must provide a model parameter"),
        (
            body(model=5),
            "invalid_type",
            "model",
            "Invalid type for 'model': expected a string, but got an integer instead.",
        ),
        ({"model": "m"}, "missing_required_parameter", "messages", "Missing required parameter: 'messages'."),
        (
            body(messages=None),
            "missing_required_parameter",
            "messages",
            "Missing required parameter: 'messages'.",
        ),
        (
            body(messages={}),
            "invalid_type",
            "messages",
            "Invalid type for 'messages': expected an array, but got an object instead.",
        ),
        (
            messages(),
            "empty_array",
            "messages",
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
        ),
        (
            messages(None),
            "invalid_type",
            "messages[0]",
            "Invalid type for 'messages[0]': expected an object, but got null instead.",
        ),
        (
            messages({"content": "hi"}),
            "missing_required_parameter",
            "messages[0].role",
            "Missing required parameter: 'messages[0].role'.",
        ),
        (
            messages({"role": {}, "content": "hi"}),
            "invalid_value",
            "messages[0].role",
            "Invalid value: {}. Supported values are: 'system', 'developer', 'user', 'assistant' and 'tool'.",
        ),
        (
            body(5),
            "invalid_type",
            "messages[0].content",
            "Invalid type for 'messages[0].content': expected an array, but got an integer instead.",
        ),
        (
            body([text("x"), {"text": "y"}]),
            "missing_required_parameter",
            "messages[0].content[1].type",
            "Missing required parameter: 'messages[0].content[1].type'.",
        ),
        (
            body([text("x"), {"type": "video_url", "video_url": {}}]),
            "invalid_value",
            "messages[0].content[1].type",
            "Invalid value: 'video_url'. Supported values are: 'text' and 'image_url'.",
        ),
        (
            body([{"type": "text"}]),
            "missing_required_parameter",
            "messages[0].content[0].text",
            "Missing required parameter: 'messages[0].content[0].text'.",
        ),
        (
            body([{"type": "image_url", "image_url": "http://x/y.png"}]),
            "invalid_type",
            "messages[0].content[0].image_url",
            "Invalid type for 'messages[0].content[0].image_url': expected an object, "
            "but got a string instead.",
        ),
        (
            body([text("x"), {"type": "image_url", "image_url": {}}]),
            "missing_required_parameter",
            URL,
            f"Missing required parameter: '{URL}'.",
        ),
        (
            body([text("x"), {"type": "image_url", "image_url": {"url": None}}]),
            "invalid_type",
            URL,
            f"Invalid type for '{URL}': expected a string, but got null instead.",
        ),
        (
            body([{"type": "image_url", "image_url": {"url": "x", "detail": "ultra"}}]),
            "invalid_value",
            "messages[0].content[0].image_url.detail",
            "Invalid value: 'ultra'. Supported values are: 'low', 'high' and 'auto'.",
        ),
        (
            body(max_tokens=0),
            "integer_below_min_value",
            "max_tokens",
            "Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        ),
        (
            body(temperature=3),
            "decimal_above_max_value",
            "temperature",
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 instead.",
        ),
        (
            body(temperature=float("nan")),
            "invalid_type",
            "temperature",
            "Invalid type for 'temperature': expected a finite number, but got a decimal number instead.",
        ),
        (
            body(seed=2**63),
            "integer_above_max_value",
            "seed",
            "Invalid 'seed': integer above maximum value. Expected a value <= 9223372036854775807, "
            "but got 9223372036854775808 instead.",
        ),
        (
            body(stop=list("abcde")),
            "array_above_max_length",
            "stop",
            "Invalid 'stop': array too long. Expected an array with maximum length 4, "
            "but got an array with length 5 instead.",
        ),
        (body(stop=""), "empty_string", "stop[0]", "Invalid 'stop[0]': empty string."),
        (
            body(stream="yes"),
            "invalid_type",
            "stream",
            "Invalid type for 'stream': expected a boolean, but got a string instead.",
        ),
        (
            body(tools=[{}]),
            "missing_required_parameter",
            "tools[0].type",
            "Missing required parameter: 'tools[0].type'.",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_openais_words(
    request_body: dict[str, Any], code: str | None, param: str | None, message: str
) -> None:
    assert refused(request_body) == (code, param, message)


@pytest.mark.parametrize("value", ["abc", 1.5, True, [], "5"])
def test_only_an_integer_is_an_integer(value: object) -> None:
    code, param, _ = refused(body(max_tokens=value))
    assert (code, param) == ("invalid_type", "max_tokens")


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("n", 2, "n"),
        ("logprobs", True, "logprobs"),
        ("top_logprobs", 3, "top_logprobs"),
        ("logit_bias", {"5": 1}, "logit_bias"),
        ("presence_penalty", 0.5, "presence_penalty"),
        ("frequency_penalty", -0.5, "frequency_penalty"),
        ("response_format", {"type": "json_object"}, "response_format.type"),
        ("tool_choice", "required", "tool_choice"),
        ("tool_choice", {"type": "function", "function": {"name": "look"}}, "tool_choice"),
        ("modalities", ["text", "audio"], "modalities"),
        ("functions", [{"name": "look"}], "functions"),
    ],
)
def test_what_is_not_served_yet_is_refused_by_name(field: str, value: object, param: str) -> None:
    code, named, message = refused(body(**{field: value}))
    assert (code, named) == ("unsupported_value", param)
    assert message.startswith(f"Unsupported value: '{param}' does not support ")


def test_a_long_value_is_not_echoed_whole() -> None:
    _, _, message = refused(messages({"role": "w" * 10_000, "content": ""}))
    assert len(message) < 200


def test_neutral_values_null_and_unknown_keys_are_accepted() -> None:
    neutral = {
        "n": 1,
        "logprobs": False,
        "top_logprobs": 0,
        "logit_bias": {},
        "presence_penalty": 0.0,
        "frequency_penalty": 0,
        "response_format": {"type": "text"},
        "tool_choice": "none",
        "tools": [],
        "modalities": ["text"],
    }
    nulls = {name: None for name, field in CompletionRequest.model_fields.items() if not field.is_required()}
    plain = CompletionRequest.model_validate(body())
    assert CompletionRequest.model_validate(body(**neutral)).model_dump() == plain.model_dump() | {
        "response_format": {"type": "text"},
        "tool_choice": "none",
    }
    assert CompletionRequest.model_validate(body(**nulls)) == plain
    assert CompletionRequest.model_validate(body(min_p=0.1, metadata={"a": "b"}, user={"id": 1})) == plain


def test_null_is_absent_inside_parts_too() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:,", "detail": None}}
    assert CompletionRequest.model_validate(body([part])) == CompletionRequest.model_validate(
        body([image("data:,")])
    )


def test_the_newer_name_of_max_tokens_wins() -> None:
    assert CompletionRequest.model_validate(body(max_tokens=3)).asked_tokens == 3
    assert CompletionRequest.model_validate(body(max_tokens=3, max_completion_tokens=4)).asked_tokens == 4


def test_tools_and_calls_of_the_past_are_named_as_ignored() -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": "{}"}}]}
    assert CompletionRequest.model_validate(body(tools=[TOOL])).ignored == ["tools"]
    assert CompletionRequest.model_validate(body(tools=[TOOL], tool_choice="none")).ignored == []
    assert CompletionRequest.model_validate(messages(call)).ignored == ["messages[].tool_calls"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


@given(field=st.sampled_from(list(CompletionRequest.model_fields)), value=ANYTHING)
def test_whatever_a_field_holds_is_accepted_or_refused_by_its_name(field: str, value: object) -> None:
    try:
        CompletionRequest.model_validate(body(**{field: value}))
    except ValidationError as error:
        param = refusal(error).param
        assert param is None if field == "model" and value is None else (param or "").startswith(field)
