"""What a request may hold, and how OpenAI would say what is wrong with it."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.api.protocol import MAX_BIASES, MAX_NAME, CompletionRequest
from gateway.api.refusal import refusal
from tests.api.service import body, image, text

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
KEYS = ["5", "role", "content", "type", "text", "image_url", "url", "function", "name", "include_usage"]
WORDS = ["5", "user", "assistant", "text", "image_url", "function", "none", ""]
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
            body([text("x"), {"type": "input_audio", "input_audio": {}}]),
            "invalid_value",
            "messages[0].content[1].type",
            "Invalid value: 'input_audio'. Supported values are: 'text', 'image_url', 'video_url' and "
            "'video'.",
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
        (
            body(logit_bias={str(token_id): 1 for token_id in range(MAX_BIASES + 1)}),
            "array_above_max_length",
            "logit_bias",
            f"Invalid 'logit_bias': object too long. Expected an object with maximum length {MAX_BIASES}, "
            f"but got an object with length {MAX_BIASES + 1} instead.",
        ),
        (
            body(prompt_cache_key="k" * (MAX_NAME + 1)),
            "string_above_max_length",
            "prompt_cache_key",
            f"Invalid 'prompt_cache_key': string too long. Expected a string with maximum length {MAX_NAME}.",
        ),
        (body(stop=""), "empty_string", "stop", "Invalid 'stop': empty string."),
        (
            body(stop=[5]),
            "invalid_type",
            "stop",
            "Invalid type for 'stop': expected a string, but got an integer instead.",
        ),
        (
            body(top_logprobs=2),
            None,
            "top_logprobs",
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
        ),
        (
            body(logprobs=False, top_logprobs=2),
            None,
            "top_logprobs",
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
        ),
        (
            body(logprobs=True, top_logprobs=21),
            "integer_above_max_value",
            "top_logprobs",
            "Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20, "
            "but got 21 instead.",
        ),
        (
            body(frequency_penalty=-2.5),
            "decimal_below_min_value",
            "frequency_penalty",
            "Invalid 'frequency_penalty': decimal below minimum value. Expected a value >= -2, "
            "but got -2.5 instead.",
        ),
        (
            body(repetition_penalty=0),
            "decimal_below_min_value",
            "repetition_penalty",
            "Invalid 'repetition_penalty': decimal below minimum value. Expected a value > 0, "
            "but got 0 instead.",
        ),
        (
            body(logit_bias={"red": 1}),
            "invalid_value",
            "logit_bias",
            "Invalid key in 'logit_bias': 'red'. You should only be submitting non-negative integers.",
        ),
        (
            body(logit_bias={"5": 101}),
            "decimal_above_max_value",
            "logit_bias",
            "Invalid 'logit_bias': decimal above maximum value. Expected a value <= 100, "
            "but got 101 instead.",
        ),
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
        ("response_format", {"type": "json_object"}, "response_format.type"),
        ("tool_choice", "required", "tool_choice"),
        ("tool_choice", {"type": "function", "function": {"name": "look"}}, "tool_choice"),
        ("modalities", ["text", "audio"], "modalities"),
        ("functions", [{"name": "look"}], "functions"),
        ("function_call", {"name": "look"}, "function_call"),
        ("audio", {"voice": "alloy", "format": "wav"}, "audio"),
        ("prediction", {"type": "content", "content": "x"}, "prediction"),
        ("web_search_options", {}, "web_search_options"),
        ("verbosity", "low", "verbosity"),
    ],
)
def test_what_is_not_served_yet_is_refused_by_name(field: str, value: object, param: str) -> None:
    code, named, message = refused(body(**{field: value}))
    assert (code, named) == ("unsupported_value", param)
    assert message.startswith(f"Unsupported value: '{param}' does not support ")


def test_a_long_value_is_not_echoed_whole() -> None:
    _, _, message = refused(messages({"role": "w" * 10_000, "content": ""}))
    assert len(message) < 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool_choice", [["x" * 1000] * 1000] * 1000),
        ("tool_choice", {"x" * 100_000: 1}),
        ("model", ["x"] * 100_000),
        ("messages", [{"role": "user", "content": [{"type": "t" * 100_000}]}]),
        ("logit_bias", {"k" * 100_000: 1}),
    ],
)
def test_nothing_long_is_echoed_whole_or_written_out_to_be_cut(field: str, value: object) -> None:
    start = time.process_time()
    _, _, message = refused(body(**{field: value}))
    assert len(message) < 300
    assert time.process_time() - start < 1  # the first value, written out, is a gigabyte


@pytest.mark.parametrize(
    ("field", "param"),
    [("messages", "messages[0]"), ("stop", "stop"), ("tools", "tools[0]")],
)
def test_of_a_million_wrong_items_only_the_first_is_looked_at(field: str, param: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CompletionRequest.model_validate(body(**{field: [1] * 1_000_000}))
    assert caught.value.error_count() == 1
    error = refusal(caught.value)
    assert (error.code, error.param) == ("invalid_type", param)


def test_of_a_million_messages_only_those_allowed_are_looked_at() -> None:
    start = time.process_time()
    code, param, _ = refused(body(messages=body()["messages"] * 1_000_000))
    assert (code, param) == ("array_above_max_length", "messages")
    code, param, _ = refused(body([text("x")] * 1_000_000))
    assert (code, param) == ("array_above_max_length", "messages[0].content")
    assert time.process_time() - start < 2  # to look at all of them takes many times as long


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
        "function_call": "auto",
        "verbosity": "medium",
        "reasoning_effort": "low",
    }
    nulls = {name: None for name, field in CompletionRequest.model_fields.items() if not field.is_required()}
    plain = CompletionRequest.model_validate(body())
    assert CompletionRequest.model_validate(body(**neutral)).model_dump() == plain.model_dump() | {
        "response_format": {"type": "text"},
        "tool_choice": "none",
    }
    assert CompletionRequest.model_validate(body(**nulls)) == plain
    assert CompletionRequest.model_validate(body(typical_p=0.1, metadata={"a": "b"}, user={"id": 1})) == plain


@pytest.mark.parametrize("key", ["-1", "1.5", "", "²", "9" * 5000])
def test_only_a_token_id_can_have_a_bias(key: str) -> None:
    code, param, message = refused(body(logit_bias={key: 1}))
    assert (code, param) == ("invalid_value", "logit_bias")
    assert len(message) < 200


def test_null_is_absent_inside_parts_too() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:,", "detail": None}}
    assert CompletionRequest.model_validate(body([part])) == CompletionRequest.model_validate(
        body([image("data:,")])
    )


def test_the_newer_name_of_max_tokens_wins() -> None:
    assert CompletionRequest.model_validate(body(max_tokens=3)).asked_tokens == 3
    assert CompletionRequest.model_validate(body(max_tokens=3, max_completion_tokens=4)).asked_tokens == 4


def test_calls_of_the_past_are_noticed() -> None:
    call = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": "{}"}}]}
    assert CompletionRequest.model_validate(messages(call)).has_tool_calls
    assert not CompletionRequest.model_validate(body(tools=[TOOL])).has_tool_calls


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
