"""One answer on its way to one client: whole, or as a stream of events, whatever its shape.

Clients are particular about streams. What holds for all of them is here: an error before the first byte is an
HTTP error; while the client waits, comments keep it and every proxy patient; an error after the first byte is
an event, and the end.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.api.connection import while_connected
from gateway.api.feed import Feed
from gateway.api.order import Order
from gateway.api.wire import ErrorAnswer, Wire, json_response
from gateway.errors import GatewayError

WAITING_PING_S = 1.0
"""Between comments before the first delta."""

PING_S = 15.0
"""Between comments after it: they keep proxies from closing a stream that pauses."""

log = logging.getLogger(__name__)


class Answer(ABC):
    """The shape of an answer: what an endpoint makes of the deltas."""

    @abstractmethod
    async def whole(self, feed: Feed) -> Wire:
        """All in one; raises what ends the generations early."""

    @abstractmethod
    def events(self, feed: Feed) -> AsyncIterator[ServerSentEvent]:
        """The same, told as it comes, up to the last event; raises what ends the generations early."""

    def broken(self, error: GatewayError) -> Iterable[ServerSentEvent]:
        """The last events of a stream that broke off."""
        return [event(ErrorAnswer.of(error).model_dump_json())]


async def deliver(
    scope: Scope, receive: Receive, send: Send, order: Order, answer: Answer, *, stream: bool
) -> None:
    """Carries the order out for as long as the client is there."""
    facts = scope["facts"]
    facts |= {"model": order.offer.name, "stream": stream}
    feed = Feed(order)
    try:
        async with feed:
            response = await while_connected(receive, _response(feed, answer, stream))
            if feed.ignored:
                facts["ignored"] = response.headers["x-axgate-ignored"] = ", ".join(feed.ignored)
            await response(scope, receive, send)
    finally:
        facts |= feed.facts


def event(data: str, kind: str | None = None) -> ServerSentEvent:
    """Lines end in \\n, as OpenAI's do."""
    return ServerSentEvent(data, event=kind, sep="\n")


async def _response(feed: Feed, answer: Answer, stream: bool) -> Response:
    if not stream:
        return json_response(await answer.whole(feed))
    await feed.begun()
    return _Stream(feed, answer)


class _Stream(EventSourceResponse):
    def __init__(self, feed: Feed, answer: Answer) -> None:
        events = self._events(feed, answer)
        super().__init__(events, ping=WAITING_PING_S, sep="\n", ping_message_factory=_ping)

    async def _events(self, feed: Feed, answer: Answer) -> AsyncIterator[ServerSentEvent]:
        try:
            async for each in answer.events(feed):
                if feed.moving:
                    self.ping_interval = PING_S
                yield each
        except GatewayError as error:
            for each in answer.broken(error):
                yield each
        except Exception:
            log.exception("an answer broke off")
            for each in answer.broken(GatewayError("The server had an error.")):
                yield each


def _ping() -> ServerSentEvent:
    return ServerSentEvent(comment="ping", sep="\n")
