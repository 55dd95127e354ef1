"""Who is let in: so many requests at a time, and nobody once the server shuts down."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.middleware import error_response
from gateway.api.pace import Pace
from gateway.errors import Overloaded, Unavailable


@dataclass(frozen=True, slots=True)
class Admission:
    """To be called when the answer to a request begins, and when it is a generation that came to its end."""

    begin: Callable[[], None]
    complete: Callable[[], None]


class Door:
    """Requests count from their first byte on, before a body or a picture takes memory. `max_requests` is
    asked each time, because a model that is loaded brings room for more."""

    def __init__(self, max_requests: Callable[[], int]) -> None:
        self._max_requests = max_requests
        self._pace = Pace()
        self._num_requests = 0
        self._closed = False
        self._unanswered: set[asyncio.Timeout] = set()

    def close(self) -> None:
        """Ends every request that has no answer yet, wherever it stands, and lets none in any more. An answer
        that has begun ends with the engine."""
        self._closed = True
        while self._unanswered:
            self._unanswered.pop().reschedule(0)

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[Admission]:
        """For the time of one request. Raises Overloaded, which says when those that are in will have been
        answered, or Unavailable when the door is closed."""
        if self._closed:
            raise _shutting_down()
        if self._num_requests >= self._max_requests():
            raise Overloaded(
                f"{self._num_requests} requests are being answered; try again later.",
                retry_after_s=self._pace.wait_s(self._num_requests),
            )
        if not self._num_requests:
            self._pace.begin()
        self._num_requests += 1
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._unanswered.add(limit)
                yield Admission(lambda: self._unanswered.discard(limit), self._pace.end)
        except TimeoutError:
            if not limit.expired():
                raise
            raise _shutting_down() from None
        finally:
            self._unanswered.discard(limit)
            self._num_requests -= 1


class Guarded:
    """Lets what a client posts through a door; to look at the server's state needs no admission."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            async with self._door.admitted() as admission:

                async def beginning(message: Message) -> None:
                    admission.begin()
                    await send(message)

                await self._app(scope, receive, beginning)
                if "completion_tokens" in scope["facts"]:
                    admission.complete()
        except Unavailable as error:
            await error_response(error)(scope, receive, send)


def _shutting_down() -> Unavailable:
    return Unavailable("The server is shutting down.")
