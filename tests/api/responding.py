"""Requests to /v1/responses, and what is common to their answers."""

from typing import Any

import httpx
from openai.types.responses import Response
from starlette.applications import Starlette

from gateway.chat.content import Message, TextPart
from gateway.chat.model import ChatModel
from gateway.chat.reply import Delta
from gateway.chat.segments import CallDelta
from tests.api.scripted_chat import ScriptedChat
from tests.api.service import (
    MODEL,
    call,
)

PATH = "/v1/responses"
SAID = "one two three four five six seven eight"  # more tokens than any script here has deltas
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}
CALLS = (
    Delta(reasoning="Hm."),
    Delta(calls=(CallDelta(0, id="call_1", name="look", arguments='{"at": '),)),
    Delta(calls=(CallDelta(0, '"sky"}'), CallDelta(1, id="call_2", name="look", arguments="{}"))),
)


def ask(
    app: Starlette, asked: object = "Hi", headers: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    return call(app, PATH, json={"model": MODEL, "input": asked} | fields, headers=headers)


def get(app: Starlette, path: str, method: str = "GET", **request: Any) -> httpx.Response:
    return call(app, f"{PATH}/{path}", method=method, **request)


def answered(app: Starlette, asked: object = "Hi", **fields: Any) -> dict[str, Any]:
    """Of a response that is as it must be."""
    response = ask(app, asked, **fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    Response.model_validate(answer, strict=True)
    return answer


def refused(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    return {key: error[key] for key in ("message", "param", "code")}


def said(role: str, *texts: str, **more: Any) -> Message:
    return Message(role, tuple(TextPart(text) for text in texts), **more)  # type: ignore[arg-type]


def asked_of(chat: ChatModel) -> Any:
    assert isinstance(chat, ScriptedChat)
    (conversation,) = chat.asked
    return conversation
