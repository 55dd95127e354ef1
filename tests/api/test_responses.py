"""POST /v1/responses: what the client gets."""

import asyncio
import json
from typing import Any

import pytest

from gateway.errors import EngineFailure, EngineRestarting
from tests.api.responding import CALLS, PATH, SAID, TOOL, answered, ask, get, refused
from tests.api.scripted_chat import scripted
from tests.api.service import (
    CONTEXT,
    MODEL,
    RED_PIXEL,
    Connection,
    ScriptedEngine,
    service,
    tokenizer,
)

# --- answers


def test_an_answer_has_openais_shape() -> None:
    engine = ScriptedEngine("A red pixel.", num_cached=3)
    answer = answered(service(engine), metadata={"k": "v"}, user="ann", temperature=0.5, instructions="Hi.")
    assert answer["id"].startswith("resp_")
    (message,) = answer["output"]
    assert message["id"].startswith("msg_")
    num_prompt = engine.requests[0].prompt.num_tokens
    num_said = len(tokenizer().encode("A red pixel.")) + 1
    assert answer["completed_at"] >= answer["created_at"]
    assert answer == {
        "id": answer["id"],
        "object": "response",
        "created_at": answer["created_at"],
        "completed_at": answer["completed_at"],
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": "Hi.",
        "max_output_tokens": None,
        "max_tool_calls": None,
        "model": MODEL,
        "output": [
            {
                "id": message["id"],
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "A red pixel.", "annotations": [], "logprobs": []}
                ],
            }
        ],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": True,
        "temperature": 0.5,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": None,
        "truncation": "disabled",
        "usage": {
            "input_tokens": num_prompt,
            "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": num_prompt - 3},
            "output_tokens": num_said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": num_prompt + num_said,
        },
        "user": "ann",
        "metadata": {"k": "v"},
    }


def test_reasoning_and_calls_are_items_of_their_own() -> None:
    chat = scripted(CALLS, ends="tool_calls")
    answer = answered(service(ScriptedEngine(SAID), chat=chat), tools=[TOOL], tool_choice="required")
    ids = [item.pop("id") for item in answer["output"]]
    assert [id.split("_")[0] for id in ids] == ["rs", "fc", "fc"]
    done = {"status": "completed"}
    assert answer["output"] == [
        done | {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        done | {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": "sky"}'},
        done | {"type": "function_call", "call_id": "call_2", "name": "look", "arguments": "{}"},
    ]
    assert answer["status"] == "completed"
    assert answer["tools"] == [TOOL | {"description": None, "strict": None}]
    assert answer["tool_choice"] == "required"


def test_reasoning_is_counted_with_the_marker_that_ends_it() -> None:
    words = ("<think>", "\nHm, red", "\n</think>", "\nRed.")
    engine = ScriptedEngine("".join(words))
    opened, thought, closed, _ = (len(tokenizer().encode(each)) for each in words)
    assert len(tokenizer().encode("".join(words[:3]))) == opened + thought + closed
    answer = answered(service(engine))
    reasoning, message = answer["output"]
    assert (reasoning["content"][0]["text"], message["content"][0]["text"]) == ("Hm, red", "Red.")
    assert answer["usage"]["output_tokens_details"] == {"reasoning_tokens": thought + closed}


def test_a_stop_string_ends_a_response_and_is_not_shown() -> None:
    answer = answered(service(ScriptedEngine("one two three")), stop=" three")
    assert (answer["output"][0]["content"][0]["text"], answer["status"]) == ("one two", "completed")


def test_max_output_tokens_makes_a_response_incomplete() -> None:
    answer = answered(service(), max_output_tokens=1)
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (answer["completed_at"], answer["usage"]["output_tokens"]) == (None, 1)
    assert [item["status"] for item in answer["output"]] == ["incomplete"]


@pytest.mark.parametrize(
    ("fields", "num_top"),
    [
        ({}, None),
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, 2),
        ({"top_logprobs": 1}, 1),
    ],
)
def test_log_probabilities_come_when_asked_for(fields: dict[str, Any], num_top: int | None) -> None:
    engine = ScriptedEngine("A")
    answer = answered(service(engine), **fields)
    assert engine.requests[0].sampling.num_top_logprobs == num_top
    told = answer["output"][0]["content"][0]["logprobs"]
    assert [(each["token"], len(each["top_logprobs"])) for each in told] == (
        [] if num_top is None else [("A", num_top)]
    )


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
                "param": None,
                "code": "model_not_found",
            },
        ),
        (
            {"previous_response_id": "resp_x"},
            400,
            {
                "message": "Previous response with id 'resp_x' not found.",
                "param": "previous_response_id",
                "code": "previous_response_not_found",
            },
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c1", "output": "31 C"}]},
            400,
            {
                "message": "No tool call found for function call output with call_id c1.",
                "param": "input",
                "code": None,
            },
        ),
        (
            {"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]},
            400,
            {
                "message": "Item 'rs_1' of type 'reasoning' was provided without its required following "
                "item.",
                "param": "input",
                "code": None,
            },
        ),
        (
            {
                "input": [
                    {"role": "user", "content": "Hi"},
                    {"role": "system", "content": [{"type": "input_image", "image_url": RED_PIXEL}]},
                ],
                "instructions": "Be good.",
            },
            400,
            {
                "message": "Invalid 'input[1]'. Image URLs are only allowed for messages with role 'user', "
                "but this message with role 'system' contains an image URL.",
                "param": "input[1]",
                "code": "invalid_value",
            },
        ),
        (
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]}
                ]
            },
            400,
            {
                "message": "Invalid image URL: 'input[0].content[0].image_url'. Expected an http(s) URL or a "
                "base64-encoded data URL with an image MIME type (e.g. "
                "'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got 'file:///etc/passwd'.",
                "param": "input[0].content[0].image_url",
                "code": "invalid_value",
            },
        ),
    ],
)
def test_a_request_that_cannot_work_is_an_http_error(
    fields: dict[str, Any], status: int, error: dict[str, Any], stream: bool
) -> None:
    assert refused(ask(service(), stream=stream, **fields), status) == error


@pytest.mark.parametrize("stream", [False, True])
def test_an_input_beyond_the_context_is_refused_with_the_numbers(stream: bool) -> None:
    engine = ScriptedEngine()
    error = refused(ask(service(engine), "word " * 300, stream=stream))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input")
    assert f"maximum context length is {CONTEXT} tokens" in error["message"]
    assert engine.requests == []


def test_an_engine_that_restarts_is_a_503_worth_a_retry() -> None:
    app = service(ScriptedEngine("", error=EngineRestarting("The engine is restarting.", retry_after_s=1.5)))
    response = ask(app, stream=True)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")


# --- streams


def test_a_stream_says_the_same_and_its_lines_are_as_openais() -> None:
    response = ask(service(ScriptedEngine("A red pixel.")), stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    *blocks, end = response.text.split("\n\n")
    assert end == ""
    told = []
    for block in blocks:
        kind, data = block.split("\n")
        told.append(json.loads(data.removeprefix("data: ")))
        assert kind == f"event: {told[-1]['type']}"
    pieces = [each["delta"] for each in told if each["type"] == "response.output_text.delta"]
    assert pieces == [tokenizer().decode([id]) for id in tokenizer().encode("A red pixel.")]
    assert told[-1]["response"]["output"][0]["content"][0]["text"] == "A red pixel."


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (EngineFailure("The engine stopped."), "engine_failure", "The engine stopped."),
        (ZeroDivisionError("secret"), None, "The server had an error."),
    ],
)
def test_an_error_after_the_first_token_ends_the_stream_as_failed(
    error: Exception, code: str | None, message: str
) -> None:
    app = service(ScriptedEngine("A red pixel.", error=error))
    *_, broken, failed, end = ask(app, stream=True).text.split("\n\n")
    told = json.loads(broken.removeprefix("event: error\ndata: "))
    assert {key: told[key] for key in ("type", "code", "message", "param")} == {
        "type": "error",
        "code": code,
        "message": message,
        "param": None,
    }
    response = json.loads(failed.removeprefix("event: response.failed\ndata: "))["response"]
    assert (response["status"], response["error"]["message"], end) == ("failed", message, "")
    assert response["output"][0]["status"] == "incomplete"
    assert get(app, response["id"]).status_code == 404


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_generation_and_nothing_is_kept(stream: bool) -> None:
    async def scenario() -> ScriptedEngine:
        engine = ScriptedEngine(gate=asyncio.Event(), gate_at=2)
        request = {"model": MODEL, "input": "Hi", "stream": stream}
        connection = Connection(service(engine), request, path=PATH)
        running = asyncio.create_task(connection.run())
        while not engine.requests:
            await asyncio.sleep(0.001)
        if stream:
            await connection.received.wait()
        connection.leave()
        await asyncio.wait_for(running, 5)
        return engine

    assert asyncio.run(scenario()).num_closed == 1
