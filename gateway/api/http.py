"""HTTP on one connection, with limits of time that uvicorn leaves to a proxy in front: this server often
stands alone."""

import asyncio
from uuid import uuid4

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gateway.api.wire import ErrorAnswer
from gateway.errors import InvalidRequest

HEAD_TIMEOUT_S = 20.0
"""For a request's line and headers, from the connection or their first byte on."""

KEEP_ALIVE_S = 75
"""Without a request: longer than clients keep idle connections, so that they, not we, close them."""

STALL_TIMEOUT_S = 120.0
"""How long a client may read nothing while there is more to send than the buffers hold."""

MAX_HEAD_BYTES = 65536


class HttpProtocol(H11Protocol):
    """To be configured with `MAX_HEAD_BYTES` and `KEEP_ALIVE_S`. A client that leaves the connection hanging
    loses it, which ends its request as if it had closed it."""

    _head: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head = self.loop.call_later(HEAD_TIMEOUT_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head()
        self._stop_stall()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:  # the head is whole
            self._stop_head()
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(STALL_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_stall()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """To what is no HTTP, in the shape of all other errors, unless an answer has begun already."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        body = ErrorAnswer.of(InvalidRequest(msg)).model_dump_json().encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            "x-request-id": f"req_{uuid4().hex}",
        }
        for event in (
            h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _stop_head(self) -> None:
        if self._head:
            self._head.cancel()
            self._head = None

    def _stop_stall(self) -> None:
        if self._stall:
            self._stall.cancel()
            self._stall = None
