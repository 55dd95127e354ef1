"""POST /v1/tokenize and /v1/detokenize."""

import asyncio
from typing import Any

import pytest

from gateway.api.chat_request import ChatRequest
from gateway.api.conversation import messages
from gateway.chat.conversation import Conversation
from tests.api.service import CONTEXT, MODEL, body, call, image, model, service, text, tokenizer
from tests.api.test_routes import error_of
from tests.chat.models import model as roomy_model

TOKENIZE, DETOKENIZE = "/v1/tokenize", "/v1/detokenize"
TURN = "<|im_start|>user\nA 🌍?<|im_end|>\n"


def prompt_ids(request: dict[str, Any]) -> list[int]:
    conversation = Conversation(messages(ChatRequest.model_validate(request).messages))
    token_ids: list[int] = asyncio.run(model().prepare(conversation)).prompt.token_ids.tolist()
    return token_ids


@pytest.mark.parametrize(
    "request_body", [body("A 🌍?"), body([text("x"), image(), text("y"), image()]), body("<|im_end|>")]
)
def test_a_conversation_has_the_tokens_it_is_prompted_with(request_body: dict[str, Any]) -> None:
    token_ids = prompt_ids(request_body)
    response = call(service(), TOKENIZE, json=request_body)
    assert (response.status_code, response.json()) == (
        200,
        {"tokens": token_ids, "count": len(token_ids), "context_length": CONTEXT},
    )


def test_tools_count_among_the_tokens_of_a_conversation() -> None:
    tools = [{"type": "function", "function": {"name": "look", "description": "Looks at the sky."}}]
    without, told, silenced = (
        call(service(chat=roomy_model()), TOKENIZE, json=body("Hi", **fields)).json()["count"]
        for fields in ({}, {"tools": tools}, {"tools": tools, "tool_choice": "none"})
    )
    assert without == silenced < told


def test_pictures_are_counted_without_being_fetched() -> None:
    nowhere = body([image("https://nowhere.invalid/a.png"), text("x")])
    with_one = call(service(), TOKENIZE, json=nowhere).json()["count"]
    assert with_one == len(prompt_ids(body([image(), text("x")])))


@pytest.mark.parametrize("words", [TURN, "", "  a\n"])
def test_a_text_is_itself_again(words: str) -> None:
    found = call(service(), TOKENIZE, json={"model": MODEL, "text": words}).json()
    expected = tokenizer().encode(words)
    assert found == {"tokens": expected, "count": len(expected), "context_length": CONTEXT}
    back = call(service(), DETOKENIZE, json={"model": MODEL, "tokens": found["tokens"]})
    assert (back.status_code, back.json()) == (200, {"text": words})


def test_a_conversation_that_does_not_fit_is_refused_with_the_numbers() -> None:
    error = error_of(call(service(), TOKENIZE, json=body("word " * 300)))
    assert error["code"] == "context_length_exceeded"
    assert f"maximum context length is {CONTEXT} tokens" in error["message"]


def test_a_text_may_be_longer_than_the_context_but_not_by_any_length() -> None:
    assert call(service(), TOKENIZE, json={"model": MODEL, "text": "no " * 300}).json()["count"] > CONTEXT
    error = error_of(call(service(), TOKENIZE, json={"model": MODEL, "text": "no " * 20_000}))
    assert error["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("path", "fields", "status", "param", "message"),
    [
        (TOKENIZE, {}, 400, "messages", "Expected either 'messages' or 'text'."),
        (TOKENIZE, body() | {"text": "x"}, 400, "messages", "Expected either 'messages' or 'text'."),
        (
            TOKENIZE,
            {"text": 5},
            400,
            "text",
            "Invalid type for 'text': expected a string, but got an integer instead.",
        ),
        (
            DETOKENIZE,
            {"tokens": [5, 10**6]},
            400,
            "tokens[1]",
            "Invalid 'tokens[1]'. 1000000 is no token of the model 'demo'.",
        ),
        (
            DETOKENIZE,
            {"tokens": [-1]},
            400,
            "tokens[0]",
            "Invalid 'tokens[0]'. -1 is no token of the model 'demo'.",
        ),
        (DETOKENIZE, {}, 400, "tokens", "Missing required parameter: 'tokens'."),
        (DETOKENIZE, {"tokens": [2**40]}, 400, "tokens[0]", None),
    ],
)
def test_a_wrong_request_names_the_field(
    path: str, fields: dict[str, Any], status: int, param: str, message: str | None
) -> None:
    response = call(service(), path, json={"model": MODEL} | fields)
    error = error_of(response)
    assert (response.status_code, error["param"]) == (status, param)
    assert message is None or error["message"] == message


@pytest.mark.parametrize("path", [TOKENIZE, DETOKENIZE])
def test_another_model_is_not_found(path: str) -> None:
    response = call(service(), path, json={"model": "other", "text": "x", "tokens": []})
    assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")
