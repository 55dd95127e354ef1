"""From the bytes of a request to one of the wire's models."""

from codecs import BOM_UTF8
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from gateway.api.connection import read_body
from gateway.api.refusal import refusal
from gateway.api.wire import Wire
from gateway.errors import InvalidRequest

MAX_VALUES = 1_000_000
"""Commas and brackets of a body: a list takes two bytes on the wire and a hundred in memory."""

W = TypeVar("W", bound=Wire)


async def read_request(request: Request, kind: type[W], max_bytes: int) -> W:
    """Whatever the content type says. Raises InvalidRequest and what `read_body` raises."""
    body = _object(await read_body(request, max_bytes))
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise refusal(error) from None


def _object(body: bytearray) -> dict[str, Any]:
    try:
        if sum(map(body.count, b",[{")) > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} commas and brackets")
        value = from_json(body.removeprefix(BOM_UTF8))
    except ValueError as error:
        raise InvalidRequest(f"We could not parse the JSON body of your request: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("We could not parse the JSON body of your request: expected a JSON object.")
    return value
