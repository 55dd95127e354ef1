"""Deltas -> one response, or the events of a stream: one path with two endings.

Clients put a response together from its events, so each says where it belongs: every item is added once, told
piece by piece and done once, in the order of the output; numbers rise by one; the last event has the whole
response.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from time import time

from sse_starlette import ServerSentEvent

from gateway.api.delivery import Answer, event
from gateway.api.feed import Feed
from gateway.api.responses.events import AnyEvent, ErrorEvent, LifecycleEvent
from gateway.api.responses.output import Output
from gateway.api.responses.response import IncompleteDetails, ResponseError, ResponseUsage, WireResponse
from gateway.chat.reply import Delta
from gateway.errors import GatewayError


class ResponseAnswer(Answer):
    """`begun` is the response before anything was said; `keep` is told of it when it has ended well, before
    the client is."""

    def __init__(
        self, begun: WireResponse, with_logprobs: bool, keep: Callable[[WireResponse], None]
    ) -> None:
        self._begun = begun
        self._output = Output(with_logprobs)
        self._keep = keep
        self._cut = False  # by max_output_tokens
        self._num_events = 0

    async def whole(self, feed: Feed) -> WireResponse:
        async for piece in feed:
            for _ in self._told(piece.delta):
                pass
        return self._ended(feed)

    async def events(self, feed: Feed) -> AsyncIterator[ServerSentEvent]:
        yield self._event(LifecycleEvent(type="response.created", response=self._begun))
        yield self._event(LifecycleEvent(type="response.in_progress", response=self._begun))
        async for piece in feed:
            for each in self._told(piece.delta):
                yield self._event(each)
        ended = self._ended(feed)
        if self._cut:
            yield self._event(LifecycleEvent(type="response.incomplete", response=ended))
        else:
            yield self._event(LifecycleEvent(type="response.completed", response=ended))

    def broken(self, error: GatewayError) -> Iterator[ServerSentEvent]:
        for each in self._output.close("incomplete"):
            yield self._event(each)
        yield self._event(ErrorEvent(code=error.code, message=error.message, param=error.param))
        failed = self._begun.model_copy(
            update={"status": "failed", "error": ResponseError.of(error), "output": self._output.items}
        )
        yield self._event(LifecycleEvent(type="response.failed", response=failed))

    def _told(self, delta: Delta) -> Iterator[AnyEvent]:
        yield from self._output.push(delta)
        if delta.finish_reason:
            self._cut = delta.finish_reason == "length"
            yield from self._output.end("incomplete" if self._cut else "completed")

    def _ended(self, feed: Feed) -> WireResponse:
        ended = self._begun.model_copy(
            update={
                "status": "incomplete" if self._cut else "completed",
                "completed_at": None if self._cut else int(time()),
                "incomplete_details": IncompleteDetails() if self._cut else None,
                "output": self._output.items,
                "usage": ResponseUsage.of(feed.totals),
            }
        )
        self._keep(ended)
        return ended

    def _event(self, told: AnyEvent) -> ServerSentEvent:
        numbered = told.model_copy(update={"sequence_number": self._num_events})
        self._num_events += 1
        return event(numbered.model_dump_json(), told.type)
