"""POST /v1/chat/completions: what is asked of the engine, and what the client gets."""

import asyncio
import json
import logging
import math
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway import __version__
from gateway.engine.prompt import Identity, SamplingParams
from gateway.errors import EngineFailure, EngineRestarting
from tests.api.service import (
    BLUE_PIXEL,
    CONTEXT,
    LIMITS,
    MODEL,
    Connection,
    ScriptedEngine,
    ask,
    body,
    call,
    events,
    image,
    num_prompt_tokens,
    service,
    text,
    tokenizer,
)

SAID = "A red pixel."


def num_tokens(words: str) -> int:
    return len(tokenizer().encode(words))


def usage(num_completion: int, num_cached: int = 0) -> dict[str, Any]:
    num_prompt = num_prompt_tokens()
    return {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_completion,
        "total_tokens": num_prompt + num_completion,
        "prompt_tokens_details": {"cached_tokens": num_cached, "image_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


# --- answers


def test_an_answer_in_one_piece_has_openais_shape() -> None:
    response = ask(service(ScriptedEngine(SAID, num_cached=3)))
    answer = response.json()
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert answer["id"].startswith("chatcmpl-")
    assert isinstance(answer["created"], int)
    assert answer == {
        "id": answer["id"],
        "object": "chat.completion",
        "created": answer["created"],
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": SAID, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": usage(num_tokens(SAID) + 1, num_cached=3),
        "system_fingerprint": f"axgate-{__version__}",
    }


def test_a_stream_tells_role_and_finish_reason_once_and_no_usage_unasked() -> None:
    *chunks, done = events(ask(service(ScriptedEngine(SAID)), stream=True))
    assert done == "[DONE]"
    head = {
        "id": chunks[0]["id"],
        "object": "chat.completion.chunk",
        "created": chunks[0]["created"],
        "model": MODEL,
        "system_fingerprint": f"axgate-{__version__}",
    }
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": tokenizer().decode([token_id])} for token_id in tokenizer().encode(SAID)]
    told: list[dict[str, Any]] = [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas
    ]
    told.append({"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"})
    assert chunks == [head | {"choices": [choice]} for choice in told]


def test_usage_when_asked_for_is_the_last_chunk_and_null_before() -> None:
    *chunks, last, done = events(ask(service(), stream=True, stream_options={"include_usage": True}))
    assert done == "[DONE]"
    assert [chunk["usage"] for chunk in chunks] == [None] * len(chunks)
    assert (last["choices"], last["usage"]) == ([], usage(num_tokens(SAID) + 1))


@pytest.mark.parametrize("words", ["A red pixel.", "你好世界🌍👩‍👩‍👧 مرحبا", "one\n\ntwo\r\nthree"])
def test_streamed_and_not_streamed_are_the_same_text(words: str) -> None:
    app = service(ScriptedEngine(words))
    *chunks, _ = events(ask(app, stream=True))
    streamed = "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
    assert streamed == ask(app).json()["choices"][0]["message"]["content"] == words


def test_max_tokens_ends_an_answer_with_length() -> None:
    answer = ask(service(), max_tokens=1).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == usage(1)


def test_a_stop_string_ends_the_generation_and_is_not_shown() -> None:
    engine = ScriptedEngine("one two three four")
    answer = ask(service(engine), stop=" three").json()
    assert answer["choices"][0]["message"]["content"] == "one two"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert engine.num_closed == 1


def entry(token_id: int, logprob: float = 0.0) -> dict[str, Any]:
    data = tokenizer().token_bytes(token_id)
    assert data is not None
    return {"token": data.decode(errors="replace"), "logprob": logprob, "bytes": list(data)}


def test_log_probabilities_have_openais_shape() -> None:
    answer = ask(service(ScriptedEngine("A🌍.")), logprobs=True, top_logprobs=2).json()
    assert answer["choices"][0]["logprobs"] == {
        "content": [
            entry(token_id) | {"top_logprobs": [entry(token_id), entry(token_id + 1, -10.0)]}
            for token_id in tokenizer().encode("A🌍.")
        ],
        "refusal": None,
    }
    ChatCompletion.model_validate(answer)


def test_an_empty_answer_has_no_log_probabilities_to_tell() -> None:
    answer = ask(service(ScriptedEngine("")), logprobs=True).json()
    assert answer["choices"][0]["logprobs"] == {"content": [], "refusal": None}


def test_an_impossible_token_is_told_in_json() -> None:
    app = service(ScriptedEngine("A", logprob=-math.inf))
    content = ask(app, logprobs=True).json()["choices"][0]["logprobs"]["content"]
    assert [token["logprob"] for token in content] == [-9999.0]


def test_log_probabilities_of_a_stream_come_with_their_text() -> None:
    *chunks, _ = events(ask(service(ScriptedEngine("A🌍.")), stream=True, logprobs=True))
    told = [
        (choice["delta"]["content"], b"".join(bytes(each["bytes"]) for each in choice["logprobs"]["content"]))
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["logprobs"]
    ]
    assert told == [("A", b"A"), ("🌍", "🌍".encode()), (".", b".")]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)


# --- what the engine is asked


def test_sampling_is_what_the_client_says_else_what_the_model_recommends() -> None:
    engine = ScriptedEngine()
    app = service(engine)
    ask(app)
    ask(app, temperature=0, top_p=0.5, top_k=-1, seed=-1, max_tokens=7)
    ask(
        app,
        max_tokens=7,
        min_p=0.2,
        repetition_penalty=1.5,
        frequency_penalty=-1,
        presence_penalty=2,
        logit_bias={"5": -100, "17": 2.5},
        logprobs=True,
        top_logprobs=3,
    )
    room = CONTEXT - num_prompt_tokens()
    assert [request.sampling for request in engine.requests] == [
        SamplingParams(room, 0.7, 20, 0.8, 0.05, repetition_penalty=1.1, stop_token_ids=frozenset({0})),
        SamplingParams(
            7, 0, 0, 0.5, 0.05, repetition_penalty=1.1, seed=2**64 - 1, stop_token_ids=frozenset({0})
        ),
        SamplingParams(
            7, 0.7, 20, 0.8, 0.2, -1, 2, 1.5, ((5, -100), (17, 2.5)), None, frozenset({0}), num_top_logprobs=3
        ),
    ]


def test_max_tokens_is_capped_to_what_fits() -> None:
    engine = ScriptedEngine()
    assert ask(service(engine), max_tokens=10**9).status_code == 200
    assert engine.requests[0].sampling.max_tokens == CONTEXT - num_prompt_tokens()


@pytest.mark.parametrize(
    ("headers", "fields", "identity"),
    [
        ({}, {}, Identity()),
        ({}, {"prompt_cache_key": "c"}, Identity(name="c")),
        ({"X-OpenWebUI-Chat-Id": "b"}, {"prompt_cache_key": "c"}, Identity(name="b")),
        ({"X-Session-Id": "a", "X-OpenWebUI-Chat-Id": "b"}, {}, Identity(name="a")),
        ({"X-OpenWebUI-Task": "title_generation"}, {}, Identity(ephemeral=True)),
        ({"X-OpenWebUI-Task": ""}, {}, Identity()),
        ({"X-Session-Id": ""}, {"prompt_cache_key": ""}, Identity()),
        ({"Authorization": "bearer sk-1"}, {}, Identity(owner=sha256(b"sk-1").hexdigest())),
        ({"Authorization": "BEARER  sk-1 "}, {}, Identity(owner=sha256(b"sk-1").hexdigest())),
        ({"Authorization": "sk-1"}, {}, Identity(owner=sha256(b"sk-1").hexdigest())),
        ({"api-key": "sk-1"}, {}, Identity(owner=sha256(b"sk-1").hexdigest())),
    ],
)
def test_headers_tell_whose_conversation_it_is(
    headers: dict[str, str], fields: dict[str, str], identity: Identity
) -> None:
    engine = ScriptedEngine()
    ask(service(engine), headers, **fields)
    assert engine.requests[0].identity == identity


def test_pictures_reach_the_engine_in_order() -> None:
    engine = ScriptedEngine()
    content = [image(), text("and"), image(BLUE_PIXEL), text("Same?")]
    assert call(service(engine), json=body(content)).status_code == 200
    first, second = engine.requests[0].prompt.images
    assert first.span.stop < second.span.start
    shades = [picture.pixels.data[..., 0].mean() for picture in (first, second)]
    assert shades[0] > 200 > 50 > shades[1]  # red, then blue


# --- refusals: HTTP errors, streamed or not


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        (
            {"model": "other"},
            404,
            {
                "message": "The model 'other' does not exist. This server has 'demo'.",
                "type": "invalid_request_error",
                "param": None,
                "code": "model_not_found",
            },
        ),
        (
            {"messages": [{"role": "user", "content": None}]},
            400,
            {
                "message": "Invalid value for 'content': expected a string, got null.",
                "type": "invalid_request_error",
                "param": "messages.[0].content",
                "code": None,
            },
        ),
        (
            {"messages": body([text("x"), image("data:image/png;base64,!!!!")])["messages"]},
            400,
            {
                "message": "Invalid base64 image_url. (messages[0].content[1].image_url.url)",
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_base64",
            },
        ),
        (
            {"max_tokens": -1},
            400,
            {
                "message": "Invalid 'max_tokens': integer below minimum value. "
                "Expected a value >= 1, but got -1 instead.",
                "type": "invalid_request_error",
                "param": "max_tokens",
                "code": "integer_below_min_value",
            },
        ),
    ],
)
def test_a_request_that_cannot_work_is_an_http_error(
    fields: dict[str, Any], status: int, error: dict[str, Any], stream: bool
) -> None:
    response = ask(service(), stream=stream, **fields)
    assert (response.status_code, response.json()) == (status, {"error": error})


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context_is_refused_with_the_numbers(stream: bool) -> None:
    engine = ScriptedEngine()
    response = call(service(engine), json=body("word " * 300, stream=stream))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        400,
        "context_length_exceeded",
        "messages",
    )
    assert f"maximum context length is {CONTEXT} tokens" in error["message"]
    assert engine.requests == []


@pytest.mark.parametrize("header", ["x-session-id", "x-openwebui-chat-id"])
def test_a_name_too_long_for_a_conversation_is_refused(header: str) -> None:
    assert ask(service(), {header: "n" * 512}).status_code == 200
    response = ask(service(), {header: "n" * 513})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, header)
    assert error["message"] == f"The header {header} is longer than 512 characters."


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_restarts_is_a_503_worth_a_retry(stream: bool) -> None:
    app = service(ScriptedEngine("", error=EngineRestarting("The engine is restarting.", retry_after_s=1.5)))
    response = ask(app, stream=stream)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert response.json()["error"]["code"] == "engine_restarting"


@pytest.mark.parametrize(
    "sent",
    [
        b'{"model": ',
        b"",
        b"[]",
        b'"x"',
        b"5",
        b"null",
        b'{"model":"demo","messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":' + b"[" * 100_000,
        b'{"messages":[' + b"[]," * 500_000 + b"1]}",
        b'{"messages":"\\ud800"}',
    ],
)
def test_what_is_not_a_json_object_is_refused(sent: bytes) -> None:
    response = call(service(limits=replace(LIMITS, max_body_bytes=2_000_000)), content=sent)
    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", None, None)
    assert error["message"].startswith("We could not parse the JSON body of your request: ")


# --- errors and clients in the middle


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            EngineFailure("The engine stopped."),
            {
                "message": "The engine stopped.",
                "type": "server_error",
                "param": None,
                "code": "engine_failure",
            },
        ),
        (
            ZeroDivisionError("secret"),
            {"message": "The server had an error.", "type": "server_error", "param": None, "code": None},
        ),
    ],
)
def test_an_error_after_the_first_token_is_the_last_event(error: Exception, shown: dict[str, Any]) -> None:
    async def scenario() -> list[bytes]:
        gate = asyncio.Event()
        app = service(ScriptedEngine(SAID, error=error, gate=gate, gate_at=1))
        connection = Connection(app, body(stream=True))
        running = asyncio.create_task(connection.run())
        await connection.received.wait()
        gate.set()
        await running
        return [message["body"] for message in connection.sent[1:]]

    *_, last, end = asyncio.run(scenario())
    assert last == b"data: " + json.dumps({"error": shown}, separators=(",", ":")).encode() + b"\n\n"
    assert end == b""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("gate_at", [0, 2])
def test_a_client_that_leaves_ends_its_generation(stream: bool, gate_at: int) -> None:
    async def scenario() -> tuple[ScriptedEngine, Connection]:
        engine = ScriptedEngine(gate=asyncio.Event(), gate_at=gate_at)
        connection = Connection(service(engine), body(stream=stream))
        running = asyncio.create_task(connection.run())
        while not engine.requests:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        connection.leave()
        await asyncio.wait_for(running, 5)
        return engine, connection

    engine, connection = asyncio.run(scenario())
    assert engine.num_closed == 1
    began = stream and gate_at > 0
    assert bool(connection.sent) == began


def test_one_line_in_the_log_tells_what_an_answer_was(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.access")
    response = ask(service(ScriptedEngine(SAID, num_cached=3)))
    (record,) = (record for record in caplog.records if record.name == "gateway.access")
    facts = record.__dict__["facts"]
    assert facts.pop("first_ms") >= 0
    assert facts.pop("ms") >= 0
    assert facts.pop("tokens_per_s") > 0
    assert facts == {
        "id": response.headers["x-request-id"],
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "model": MODEL,
        "stream": False,
        "finish": "stop",
        "prompt_tokens": num_prompt_tokens(),
        "completion_tokens": num_tokens(SAID) + 1,
        "cached_tokens": 3,
    }
