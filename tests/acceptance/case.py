"""One line of the table, and the three kinds of lines there are: what is answered, what is refused, and what
may be either."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any
from unittest.mock import ANY

from gateway.demo import MODEL_NAME
from tests.acceptance.client import TIMEOUT_S, Body, Client, Reply
from tests.acceptance.pictures import PNG

SAY_HI = [{"role": "user", "content": "Say hi."}]

Check = Callable[[Client, Any, Reply], None]
Bodies = Callable[[], Iterable[Body]]


@dataclass(frozen=True)
class Case:
    """`paced` ones are asked of a gateway that takes as long as a card."""

    id: str
    what: str
    check: Callable[[Client], object]
    paced: bool = False


def chat(messages: Any = SAY_HI, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL_NAME, "messages": messages, "max_tokens": 16} | fields


def without(field: str) -> dict[str, Any]:
    body = chat()
    del body[field]
    return body


def says(content: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def image(url: Any, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def shown(url: Any = PNG, **more: Any) -> dict[str, Any]:
    """A request with that picture as its second part."""
    return chat([says([text("Describe."), image(url, **more)])])


def answered(id: str, what: str, bodies: Bodies, check: Check | None = None) -> Case:
    """A whole completion for each."""

    def run(client: Client) -> None:
        for body in bodies():
            reply = client.ask(body)
            assert reply.completion
            if check:
                check(client, body, reply)

    return Case(id, what, run)


def refused(
    id: str,
    what: str,
    bodies: Bodies,
    code: str | None = ANY,
    param: str | None = ANY,
    status: int = 400,
    max_s: float = TIMEOUT_S,
    *,
    or_answered: bool = False,
) -> Case:
    """In the words of OpenAI, within a time."""

    def run(client: Client) -> None:
        for body in bodies():
            start = monotonic()
            reply = client.ask(body)
            assert monotonic() - start < max_s
            if or_answered and reply.status == 200:
                assert reply.completion
            else:
                assert_refusal(reply, code, param, status)

    return Case(id, what, run)


either = partial(refused, or_answered=True)
"""Where OpenAI refuses and servers of open models do not, or the other way round: both will do."""


def assert_refusal(reply: Reply, code: str | None, param: str | None, status: int = 400) -> None:
    told = (reply.status, reply.error["type"], reply.error["code"], reply.error["param"])
    assert told == (status, "invalid_request_error", code, param), reply.error["message"]
