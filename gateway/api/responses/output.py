"""What a response says, item by item: deltas in; events, and in the end whole items, out.

One item is open at a time. What is of another kind, or of another call, closes it.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

from gateway.api.logprobs import finite
from gateway.api.responses.events import AnyEvent, ItemEvent
from gateway.api.responses.items import AnyItem, ResponseLogprob, ResponseToken, Status
from gateway.api.responses.open_items import OpenCall, OpenMessage, OpenReasoning
from gateway.chat.logprobs import ShownLogprobs, TokenLogprob
from gateway.chat.reply import CallDelta, Delta

K = TypeVar("K", OpenMessage, OpenReasoning)


class Output:
    """`items` are those that are closed. Log probabilities are told of the text only, and if asked for."""

    def __init__(self, with_logprobs: bool) -> None:
        self.items: list[AnyItem] = []
        self._with_logprobs = with_logprobs
        self._open: OpenMessage | OpenReasoning | OpenCall | None = None

    def push(self, delta: Delta) -> Iterator[AnyEvent]:
        calls = list(delta.calls)
        if calls and self._is_open(calls[0]):
            yield from self._call(calls.pop(0))
        if delta.reasoning:
            yield (yield from self._opened(OpenReasoning)).add(delta.reasoning)
        shown = delta.logprobs if self._with_logprobs else ()
        # A token without text, such as the one that ends the reply, goes to the text before it.
        if delta.text or (shown and isinstance(self._open, OpenMessage)):
            yield (yield from self._opened(OpenMessage)).add(delta.text, _logprobs(shown))
        for call in calls:
            yield from self._call(call)

    def end(self, status: Status) -> Iterator[AnyEvent]:
        """`status` is that of the last item. An answer of nothing is an empty message."""
        if self._open is None:
            yield from self._opened(OpenMessage)
        yield from self.close(status)

    def close(self, status: Status) -> Iterator[AnyEvent]:
        """The same for an answer that breaks off, wherever it stands."""
        if self._open is None:
            return
        yield from self._open.end()
        item = self._open.item(status)
        yield ItemEvent(type="response.output_item.done", output_index=self._open.index, item=item)
        self.items.append(item)
        self._open = None

    def _opened(self, kind: type[K]) -> Generator[AnyEvent, None, K]:
        if isinstance(self._open, kind):
            return self._open
        yield from self.close("completed")
        opened = kind(len(self.items))
        self._open = opened
        yield from opened.begin()
        return opened

    def _call(self, piece: CallDelta) -> Iterator[AnyEvent]:
        if not self._is_open(piece):
            assert piece.id is not None
            assert piece.name is not None
            yield from self.close("completed")
            self._open = OpenCall(len(self.items), piece.index, piece.id, piece.name)
            yield from self._open.begin()
        assert isinstance(self._open, OpenCall)
        if piece.arguments:
            yield self._open.add(piece.arguments)

    def _is_open(self, piece: CallDelta) -> bool:
        return isinstance(self._open, OpenCall) and self._open.number == piece.index


def _logprobs(shown: Sequence[ShownLogprobs]) -> list[ResponseLogprob]:
    return [_logprob(one) for one in shown]


def _logprob(shown: ShownLogprobs) -> ResponseLogprob:
    chosen, top = _token(shown.chosen), [_token(token) for token in shown.top]
    return ResponseLogprob(token=chosen.token, bytes=chosen.bytes, logprob=chosen.logprob, top_logprobs=top)


def _token(token: TokenLogprob) -> ResponseToken:
    """A special token has no bytes."""
    return ResponseToken(token=token.text, bytes=list(token.bytes or b""), logprob=finite(token))
