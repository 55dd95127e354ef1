"""What a request may hold, and how OpenAI would say what is wrong with it."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from pydantic import ValidationError

from gateway.api.chat_request import MAX_VARIABLE, MAX_VARIABLES, OURS, ChatRequest
from gateway.api.conversation import conversation
from gateway.api.refusal import refusal
from gateway.api.sampling import MAX_BIASES, MAX_CHOICES
from gateway.api.wire import MAX_NAME
from gateway.chat.generation import GenerationDefaults
from tests.api.service import body, image, text

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
KEYS = ["5", "role", "content", "type", "text", "image_url", "url", "function", "name", "include_usage"]
WORDS = ["5", "user", "assistant", "text", "image_url", "function", "none", ""]
URL = "messages[0].content[1].image_url.url"


def refused(request: dict[str, Any]) -> tuple[str | None, str | None, str]:
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate(request)
    error = refusal(caught.value)
    return error.code, error.param, error.message


def messages(*each: object) -> dict[str, Any]:
    return {"model": "m", "messages": list(each)}


LONG_VARIABLES: list[Any] = [[], {}, "x" * (MAX_VARIABLE + 1)]


def allowed(mode: str, *names: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


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
            "Invalid value: {}. Supported values are: 'system', 'developer', 'user', 'assistant', and "
            "'tool'.",
        ),
        (
            body(5),
            "invalid_type",
            "messages[0].content",
            "Invalid type for 'messages[0].content': expected one of a string or array of "
            "objects, but got an integer instead.",
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
            "Invalid value: 'input_audio'. Supported values are: 'text', 'image_url', 'video_url', "
            "'video', and 'refusal'.",
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
            "Invalid value: 'ultra'. Supported values are: 'low', 'high', and 'auto'.",
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
            f"Invalid 'prompt_cache_key': string too long. Expected a string with maximum length {MAX_NAME}, "
            f"but got a string with length {MAX_NAME + 1} instead.",
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
            "Invalid 'repetition_penalty': decimal below minimum value. Expected a value >= 0.01, "
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
        (
            body(n=0),
            "integer_below_min_value",
            "n",
            "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        ),
        (
            body(n="x"),
            "invalid_type",
            "n",
            "Invalid type for 'n': expected an integer, but got a string instead.",
        ),
        (
            body(n=MAX_CHOICES + 1),
            "integer_above_max_value",
            "n",
            f"Invalid 'n': integer above maximum value. Expected a value <= {MAX_CHOICES}, "
            f"but got {MAX_CHOICES + 1} instead.",
        ),
        (
            body(tools=[{"type": "function", "function": {"name": "look up"}}]),
            "invalid_value",
            "tools[0].function.name",
            "Invalid 'tools[0].function.name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        ),
        (
            body(tools=[{"type": "function", "function": {"name": "l" * 65}}]),
            "string_above_max_length",
            "tools[0].function.name",
            "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, "
            "but got a string with length 65 instead.",
        ),
        (
            body(tools=[TOOL, TOOL]),
            "invalid_value",
            "tools",
            "Invalid 'tools'. Two tools have the name 'look'.",
        ),
        (
            body(tools=[{"type": "custom", "custom": {"name": "x"}}]),
            "invalid_value",
            "tools[0].type",
            "Invalid value: 'custom'. Supported values are: 'function'.",
        ),
        (
            body(tools=[{"type": "function", "function": {"name": "look", "parameters": []}}]),
            "invalid_type",
            "tools[0].function.parameters",
            "Invalid type for 'tools[0].function.parameters': expected an object, but got an array instead.",
        ),
        (
            body(tools=[{"type": "function", "function": {"name": "look", "strict": "yes"}}]),
            "invalid_type",
            "tools[0].function.strict",
            "Invalid type for 'tools[0].function.strict': expected a boolean, but got a string instead.",
        ),
        (
            body(tools=[TOOL], tool_choice="always"),
            "invalid_value",
            "tool_choice",
            "Invalid value: 'always'. Supported values are: 'none', 'auto', and 'required'.",
        ),
        (
            body(tools=[TOOL], tool_choice=5),
            "invalid_type",
            "tool_choice",
            "Invalid type for 'tool_choice': expected one of a string or object, but got an integer instead.",
        ),
        (
            body(tools=[TOOL], tool_choice={"type": "function"}),
            "missing_required_parameter",
            "tool_choice.function",
            "Missing required parameter: 'tool_choice.function'.",
        ),
        (
            body(tools=[TOOL], tool_choice={"type": "function", "function": {}}),
            "missing_required_parameter",
            "tool_choice.function.name",
            "Missing required parameter: 'tool_choice.function.name'.",
        ),
        (
            body(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "go"}}),
            None,
            "tool_choice",
            "Tool choice 'go' not found in 'tools' parameter.",
        ),
        (
            body(tools=[TOOL], tool_choice=allowed("auto", "look", "go")),
            None,
            "tool_choice",
            "Tool choice 'go' not found in 'tools' parameter.",
        ),
        (
            body(tools=[TOOL], tool_choice=allowed("none", "look")),
            "invalid_value",
            "tool_choice.allowed_tools.mode",
            "Invalid value: 'none'. Supported values are: 'auto' and 'required'.",
        ),
        (
            body(tools=[TOOL], tool_choice={"type": "allowed_tools"}),
            "missing_required_parameter",
            "tool_choice.allowed_tools",
            "Missing required parameter: 'tool_choice.allowed_tools'.",
        ),
        (
            body(tool_choice="required"),
            None,
            "tool_choice",
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
        ),
        (
            body(parallel_tool_calls="no"),
            "invalid_type",
            "parallel_tool_calls",
            "Invalid type for 'parallel_tool_calls': expected a boolean, but got a string instead.",
        ),
        (
            body(response_format={"type": "sound"}),
            "invalid_value",
            "response_format.type",
            "Invalid value: 'sound'. Supported values are: 'text', 'json_object', and 'json_schema'.",
        ),
        (
            body(response_format="json_object"),
            "invalid_type",
            "response_format",
            "Invalid type for 'response_format': expected an object, but got a string instead.",
        ),
        (
            body(response_format={"type": "json_schema"}),
            "missing_required_parameter",
            "response_format.json_schema",
            "Missing required parameter: 'response_format.json_schema'.",
        ),
        (
            body(response_format={"type": "json_schema", "json_schema": {"schema": {}}}),
            "missing_required_parameter",
            "response_format.json_schema.name",
            "Missing required parameter: 'response_format.json_schema.name'.",
        ),
        (
            body(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": []}}),
            "invalid_type",
            "response_format.json_schema.schema",
            "Invalid type for 'response_format.json_schema.schema': expected an object, "
            "but got an array instead.",
        ),
        (
            body(reasoning_effort="most"),
            "invalid_value",
            "reasoning_effort",
            "Invalid value: 'most'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', "
            "'xhigh', and 'max'.",
        ),
        (
            body(chat_template_kwargs=[]),
            "invalid_type",
            "chat_template_kwargs",
            "Invalid type for 'chat_template_kwargs': expected an object, but got an array instead.",
        ),
        *(
            (
                body(chat_template_kwargs={name: True}),
                "invalid_value",
                "chat_template_kwargs",
                f"Invalid 'chat_template_kwargs'. {name} is not for the request to set.",
            )
            for name in OURS
        ),
        *(
            (
                body(chat_template_kwargs={"x": value}),
                "invalid_value",
                "chat_template_kwargs",
                "Invalid 'chat_template_kwargs'. Expected booleans, numbers and strings of up to "
                f"{MAX_VARIABLE} characters.",
            )
            for value in LONG_VARIABLES
        ),
        (
            body(chat_template_kwargs={str(number): 1 for number in range(MAX_VARIABLES + 1)}),
            "array_above_max_length",
            "chat_template_kwargs",
            f"Invalid 'chat_template_kwargs': object too long. Expected an object with maximum length "
            f"{MAX_VARIABLES}, but got an object with length {MAX_VARIABLES + 1} instead.",
        ),
        (
            messages({"role": "user", "content": "x", "images": "data:,"}),
            "invalid_type",
            "messages[0].images",
            "Invalid type for 'messages[0].images': expected an array, but got a string instead.",
        ),
        (
            messages({"role": "user", "content": "x", "images": [5]}),
            "invalid_type",
            "messages[0].images[0]",
            "Invalid type for 'messages[0].images[0]': expected a string, but got an integer instead.",
        ),
        (
            messages({"role": "assistant", "content": "x", "reasoning_content": 5}),
            "invalid_type",
            "messages[0].reasoning_content",
            "Invalid type for 'messages[0].reasoning_content': expected a string, but got an "
            "integer instead.",
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
        ("modalities", ["text", "audio"], "modalities"),
        ("functions", [{"name": "look"}], "functions"),
        ("function_call", {"name": "look"}, "function_call"),
        ("audio", {"voice": "alloy", "format": "wav"}, "audio"),
        ("prediction", {"type": "content", "content": "x"}, "prediction"),
        ("web_search_options", {}, "web_search_options"),
        ("verbosity", "low", "verbosity"),
        ("moderation", {"model": "x"}, "moderation"),
    ],
)
def test_what_is_not_served_yet_is_refused_by_name(field: str, value: object, param: str) -> None:
    code, named, message = refused(body(**{field: value}))
    assert (code, named) == ("unsupported_value", param)
    assert message.startswith(f"Unsupported value: '{param}' does not support ")


@pytest.mark.parametrize(
    ("field", "value"), [("function_call", {"name": "look", "arguments": "{}"}), ("audio", {"id": "audio_1"})]
)
def test_what_an_assistant_said_in_a_form_that_is_not_served_is_not_left_out(
    field: str, value: object
) -> None:
    code, named, _ = refused(messages({"role": "assistant", "content": "", field: value}))
    assert (code, named) == ("unsupported_value", f"messages[0].{field}")


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
        ChatRequest.model_validate(body(**{field: [1] * 1_000_000}))
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
    }
    nulls = {name: None for name, field in ChatRequest.model_fields.items() if not field.is_required()}
    plain = ChatRequest.model_validate(body())
    said = {name: getattr(ChatRequest.model_validate(body(**neutral)), name) for name in neutral}
    assert said["tool_choice"].type == "none"
    assert said["response_format"].type == "text"
    for name in neutral.keys() - {"tool_choice", "response_format"}:
        assert said[name] == getattr(plain, name)
    assert ChatRequest.model_validate(body(**nulls)) == plain
    assert ChatRequest.model_validate(body(typical_p=0.1)) == plain


def test_every_field_of_openais_is_known() -> None:
    assert set(CompletionCreateParamsBase.__annotations__) | {"stream"} <= set(ChatRequest.model_fields)


@pytest.mark.parametrize("value", [5, "flex", {"id": 1}, [None], True])
@pytest.mark.parametrize("field", ["user", "metadata", "store", "service_tier", "safety_identifier"])
def test_what_changes_nothing_here_may_hold_anything(field: str, value: object) -> None:
    assert conversation(ChatRequest.model_validate(body(**{field: value}))) == conversation(
        ChatRequest.model_validate(body())
    )


@pytest.mark.parametrize("key", ["-1", "1.5", "", "²", "9" * 5000])
def test_only_a_token_id_can_have_a_bias(key: str) -> None:
    code, param, message = refused(body(logit_bias={key: 1}))
    assert (code, param) == ("invalid_value", "logit_bias")
    assert len(message) < 200


def test_null_is_absent_inside_parts_too() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:,", "detail": None}}
    assert ChatRequest.model_validate(body([part])) == ChatRequest.model_validate(body([image("data:,")]))


def test_the_newer_name_of_max_tokens_wins() -> None:
    defaults = GenerationDefaults(frozenset())
    for fields, number in (
        ({"max_tokens": 3}, 3),
        ({"max_tokens": 3, "max_completion_tokens": 4}, 4),
        ({"max_tokens": 9}, 5),
        ({}, 5),
    ):
        wanted = ChatRequest.model_validate(body(**fields))
        assert wanted.sampling(defaults, room=5).max_tokens == number


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


@given(field=st.sampled_from(list(ChatRequest.model_fields)), value=ANYTHING)
def test_whatever_a_field_holds_is_accepted_or_refused_by_its_name(field: str, value: object) -> None:
    try:
        ChatRequest.model_validate(body(**{field: value}))
    except ValidationError as error:
        param = refusal(error).param
        assert param is None if field == "model" and value is None else (param or "").startswith(field)
