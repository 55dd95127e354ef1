"""POST /v1/completions: what is asked of the engine, and what the client gets."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion
from pydantic import ValidationError
from starlette.applications import Starlette

from gateway import __version__
from gateway.api.refusal import refusal
from gateway.api.text_request import TextRequest
from tests.api.service import CONTEXT, MODEL, ScriptedEngine, call, events, service, tokenizer
from tests.api.test_chat_request import ANYTHING

PATH = "/v1/completions"
SAID = "A red pixel."
FIELDS = list(TextRequest.model_fields)


def ask(app: Starlette, prompt: object = "Hi", **fields: object) -> httpx.Response:
    return call(app, PATH, json={"model": MODEL, "prompt": prompt} | fields)


def answered(app: Starlette, prompt: object = "Hi", **fields: object) -> dict[str, Any]:
    response = ask(app, prompt, **fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    Completion.model_validate(answer, strict=True)
    return answer


def texts(answer: dict[str, Any]) -> list[str]:
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(answer["choices"])))
    return [choice["text"] for choice in answer["choices"]]


def ids(text: str) -> list[int]:
    return tokenizer().encode(text)


# --- answers


def test_an_answer_in_one_piece_has_openais_shape() -> None:
    answer = answered(service(ScriptedEngine(SAID, num_cached=1)), max_tokens=99)
    assert answer["id"].startswith("cmpl-")
    num_prompt, num_said = len(ids("Hi")), len(ids(SAID)) + 1
    assert answer == {
        "id": answer["id"],
        "object": "text_completion",
        "created": answer["created"],
        "model": MODEL,
        "choices": [{"index": 0, "text": SAID, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_said,
            "total_tokens": num_prompt + num_said,
            "prompt_tokens_details": {"cached_tokens": 1, "image_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "system_fingerprint": f"axgate-{__version__}",
    }


def test_the_prompt_is_what_was_sent_and_nothing_around_it() -> None:
    engine = ScriptedEngine()
    answered(service(engine), "The sky is")
    answered(service(engine), ids("The sky is"))
    assert [request.prompt.token_ids.tolist() for request in engine.requests] == [ids("The sky is")] * 2


def test_without_max_tokens_there_are_sixteen() -> None:
    engine = ScriptedEngine("one " * 40)
    answer = answered(service(engine))
    assert engine.requests[0].sampling.max_tokens == 16
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("prompt", [["one two", "three"], [ids("one two"), ids("three")]])
def test_choices_come_in_the_order_of_their_prompts(prompt: list[Any]) -> None:
    engine = ScriptedEngine(SAID)
    answer = answered(service(engine), prompt, n=2, echo=True)
    assert texts(answer) == [first + SAID for first in ("one two", "one two", "three", "three")]
    assert answer["usage"]["prompt_tokens"] == len(ids("one two")) + len(ids("three"))


def test_a_stop_string_ends_the_text_and_is_not_shown() -> None:
    answer = answered(service(ScriptedEngine("one two three")), stop=" three")
    assert texts(answer) == ["one two"]
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("words", ["A red pixel.", "你好世界🌍👩‍👩‍👧 مرحبا"])
@pytest.mark.parametrize("echo", [False, True])
def test_streamed_and_not_streamed_are_the_same_text(words: str, echo: bool) -> None:
    app = service(ScriptedEngine(words))
    fields = {"n": 2, "echo": echo, "max_tokens": 99}
    *chunks, done = events(ask(app, stream=True, **fields))
    assert done == "[DONE]"
    streamed = ["", ""]
    reasons: list[list[str]] = [[], []]
    for chunk in chunks:
        Completion.model_validate(chunk | {"choices": []}, strict=True)
        assert "usage" not in chunk
        (choice,) = chunk["choices"]
        streamed[choice["index"]] += choice["text"]
        reasons[choice["index"]].append(choice["finish_reason"])
    assert streamed == texts(answered(app, **fields)) == [("Hi" if echo else "") + words] * 2
    assert [[reason for reason in each if reason] for each in reasons] == [["stop"], ["stop"]]


def test_usage_when_asked_for_is_the_last_chunk_and_null_before() -> None:
    *chunks, last, _ = events(ask(service(), stream=True, stream_options={"include_usage": True}))
    assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
    assert (last["choices"], last["usage"]["prompt_tokens"]) == ([], len(ids("Hi")))


def test_log_probabilities_have_the_older_form() -> None:
    app = service(ScriptedEngine("A red", logprob=-0.5))
    logprobs = answered(app, logprobs=2)["choices"][0]["logprobs"]
    words = [tokenizer().token_text(id) for id in ids("A red")]
    assert logprobs["tokens"] == words
    assert logprobs["token_logprobs"] == [-0.5] * len(words)
    assert logprobs["text_offset"] == [len("".join(words[:place])) for place in range(len(words))]
    assert [top[word] for top, word in zip(logprobs["top_logprobs"], words, strict=True)] == [-0.5] * len(
        words
    )
    *chunks, _ = events(ask(app, logprobs=2, stream=True))
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks[:-1]]
    assert {key: [value for each in told for value in each[key]] for key in logprobs} == logprobs


def test_a_token_that_is_part_of_a_character_begins_where_the_character_does() -> None:
    logprobs = answered(service(ScriptedEngine("a🌍b")), logprobs=0)["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) > 3
    assert logprobs["top_logprobs"] == [{token: 0.0} for token in logprobs["tokens"]]
    assert sorted(set(logprobs["text_offset"])) == [0, 1, 2]


# --- refusals


@pytest.mark.parametrize(
    ("fields", "code", "param", "message"),
    [
        ({"prompt": None}, "missing_required_parameter", "prompt", "Missing required parameter: 'prompt'."),
        (
            {"prompt": []},
            "empty_array",
            "prompt",
            "Invalid 'prompt': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
        ),
        (
            {"prompt": ["a", 5]},
            "invalid_value",
            "prompt",
            "Invalid 'prompt'. Expected a string, an array of strings, an array of token ids, "
            "or an array of these.",
        ),
        (
            {"prompt": ["a"] * 17},
            "array_above_max_length",
            "prompt",
            "Invalid 'prompt': array too long. Expected an array with maximum length 16, "
            "but got an array with length 17 instead.",
        ),
        (
            {"prompt": ["a"] * 9, "n": 2},
            "invalid_value",
            "prompt",
            "Invalid 'prompt'. 9 prompts with 2 continuations each are 18 choices, and there can be 16.",
        ),
        (
            {"suffix": "end"},
            "unsupported_value",
            "suffix",
            "Unsupported value: 'suffix' does not support 'end'. Supported so far: null and \"\".",
        ),
        (
            {"best_of": 2},
            "invalid_value",
            "best_of",
            "Invalid 'best_of'. As many as 'n' are made, and all of them are told.",
        ),
        (
            {"logprobs": 6},
            "integer_above_max_value",
            "logprobs",
            "Invalid 'logprobs': integer above maximum value. Expected a value <= 5, but got 6 instead.",
        ),
        (
            {"logprobs": True},
            "invalid_type",
            "logprobs",
            "Invalid type for 'logprobs': expected an integer, but got a boolean instead.",
        ),
        (
            {"logprobs": 1, "echo": True},
            "invalid_value",
            "echo",
            "Invalid 'echo'. The log probabilities of a prompt are not computed: it cannot be asked for "
            "together with 'logprobs'.",
        ),
    ],
)
def test_a_wrong_request_is_refused_in_openais_words(
    fields: dict[str, Any], code: str, param: str, message: str
) -> None:
    error = ask(service(), **fields).json()["error"]
    assert (error["code"], error["param"], error["message"]) == (code, param, message)


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context_is_refused_with_the_numbers(stream: bool) -> None:
    engine = ScriptedEngine()
    for prompt in ("word " * 300, ids("word " * 300)):
        response = ask(service(engine), prompt, stream=stream)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (
            400,
            "context_length_exceeded",
            "prompt",
        )
        assert f"maximum context length is {CONTEXT} tokens" in error["message"]
    assert engine.requests == []


def test_what_is_no_token_is_refused() -> None:
    response = ask(service(), [5, 10**9])
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "invalid_value")
    assert error["param"].startswith("prompt")


def test_an_error_after_the_first_token_is_the_last_event() -> None:
    response = ask(service(ScriptedEngine(SAID, error=ZeroDivisionError("secret"))), stream=True)
    *_, last, end = response.text.split("\n\n")
    error = {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}
    assert (json.loads(last.removeprefix("data: ")), end) == ({"error": error}, "")


@given(field=st.sampled_from(FIELDS), value=ANYTHING)
def test_whatever_a_field_holds_is_accepted_or_refused_by_its_name(field: str, value: object) -> None:
    try:
        TextRequest.model_validate({"model": "m", "prompt": "Hi", field: value})
    except ValidationError as error:
        param = refusal(error).param
        assert param is None if field == "model" and value is None else (param or "").startswith(field)
