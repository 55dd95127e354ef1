"""The client at the other end: what it sends, and whether it is still there."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from gateway.errors import BodyEncoded, BodyTimeout, BodyTooLarge, cut

BODY_TIMEOUT_S = 60.0
"""How long a client may take to send a body: the largest, by default, needs 8.5 Mbit/s."""

T = TypeVar("T")


async def read_body(request: Request, max_bytes: int) -> bytearray:
    """Raises BodyEncoded, for one that is compressed; BodyTooLarge, before reading where the length is
    announced; BodyTimeout; ClientDisconnect."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("identity", ""):
        raise BodyEncoded(f"The content encoding '{cut(encoding)}' is not supported: send the body as it is.")
    too_large = BodyTooLarge(f"The request body is larger than {max_bytes} bytes.")
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for piece in request.stream():
                body += piece
                if len(body) > max_bytes:
                    raise too_large
    except TimeoutError:
        raise BodyTimeout(f"The request body was not sent within {BODY_TIMEOUT_S:.0f} seconds.") from None
    return body


async def while_connected(receive: Receive, work: Coroutine[None, None, T]) -> T:
    """What `work` returns; it is cancelled, and ClientDisconnect raised, when the client goes first."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
