"""Around every request: an id in and out, one line in the log, and an OpenAI error for whatever went
wrong."""

import logging
from math import ceil
from time import monotonic
from uuid import uuid4

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.wire import ErrorAnswer
from gateway.errors import (
    BodyEncoded,
    BodyTimeout,
    BodyTooLarge,
    EngineFailure,
    GatewayError,
    MethodNotAllowed,
    NotFound,
    cut,
)

GONE = 499  # what web servers note for a client that left before its answer; never on the wire

log = logging.getLogger("gateway.access")


class RequestLog:
    """Sends `x-request-id` with every answer, logs each request once, and keeps faults of ours from the
    client. What a route has to say about a request goes into `scope["facts"]`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        facts: dict[str, object] = {
            "id": f"req_{uuid4().hex}",
            "method": scope["method"],
            "path": scope["path"],
            "status": GONE,
        }
        start_s = monotonic()

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                facts["status"] = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = str(facts["id"])
            await send(message)

        scope["facts"] = facts
        try:
            await self._app(scope, receive, tagged)
        except ClientDisconnect:
            pass
        except Exception:
            log.exception("a request failed", extra={"facts": {"id": facts["id"]}})
            if facts["status"] != GONE:
                raise
            await error_response(GatewayError("The server had an error."))(scope, receive, tagged)
        finally:
            facts["ms"] = round((monotonic() - start_s) * 1000, 1)
            log.info("request", extra={"facts": facts})


def error_response(error: GatewayError) -> Response:
    headers = {} if error.retry_after_s is None else {"Retry-After": str(ceil(error.retry_after_s))}
    if isinstance(error, EngineFailure):
        headers["x-should-retry"] = "false"  # for OpenAI's clients, which would try twice more
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, BodyTimeout | BodyTooLarge | BodyEncoded):
        headers["Connection"] = "close"  # the rest of the body is not worth waiting for
    body = ErrorAnswer.of(error).model_dump_json()
    return Response(body, error.status, headers, media_type="application/json")


def answer_gateway_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GatewayError)
    return error_response(error)


def answer_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405, the latter with its Allow header."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {cut(request.url.path)}"
    kind = MethodNotAllowed if error.status_code == 405 else NotFound
    response = error_response(kind(f"There is no {what} here."))
    response.headers.update(error.headers or {})
    return response
