"""Deltas -> one text completion, or the chunks of a stream."""

from codecs import getincrementaldecoder
from collections.abc import AsyncIterator, Sequence
from time import time
from typing import Literal
from uuid import uuid4

from sse_starlette import ServerSentEvent

from gateway.api.delivery import Answer, event
from gateway.api.feed import Feed
from gateway.api.logprobs import finite
from gateway.api.text_completion import TextChoice, TextCompletion, TextLogprobs
from gateway.api.told import gathered
from gateway.api.usage import WireUsage
from gateway.api.wire import FINGERPRINT
from gateway.chat.logprobs import ShownLogprobs
from gateway.chat.reply import FinishReason


class TokenPlaces:
    """Where in the text of a choice its tokens begin: a character may be made of several. Prompts are not
    echoed with it."""

    def __init__(self) -> None:
        self._next = 0
        self._decoder = getincrementaldecoder("utf-8")("replace")

    def told(self, shown: Sequence[ShownLogprobs]) -> TextLogprobs:
        places = []
        for one in shown:
            places.append(self._next)
            self._next += len(self._decoder.decode(one.chosen.bytes or b""))
        return TextLogprobs(
            tokens=[one.chosen.text for one in shown],
            token_logprobs=[finite(one.chosen) for one in shown],
            top_logprobs=[{each.text: finite(each) for each in (*one.top, one.chosen)} for one in shown],
            text_offset=places,
        )


class TextAnswer(Answer):
    """`echoed` are the prompts, of which each choice's text begins with its own; empty where none are echoed.
    They need to be there with the first delta."""

    def __init__(self, model: str, echoed: Sequence[str], with_logprobs: bool, with_usage: bool) -> None:
        self._model = model
        self._echoed = echoed
        self._with_logprobs = with_logprobs
        self._with_usage = with_usage
        self._id = f"cmpl-{uuid4().hex}"
        self._created = int(time())

    async def whole(self, feed: Feed) -> TextCompletion:
        choices = []
        for index, told in enumerate(await gathered(feed)):
            choices.append(
                TextChoice(
                    index=index,
                    text=self._echo(feed, index) + told.text,
                    logprobs=TokenPlaces().told(told.logprobs) if self._with_logprobs else None,
                    finish_reason=_reason(told.finish_reason),
                )
            )
        return self._completion(choices, WireUsage.of(feed.totals))

    async def events(self, feed: Feed) -> AsyncIterator[ServerSentEvent]:
        places: dict[int, TokenPlaces] = {}
        async for piece in feed:
            index, delta = piece.index, piece.delta
            text = delta.text
            if index not in places:
                places[index] = TokenPlaces()
                text = self._echo(feed, index) + text
            logprobs = places[index].told(delta.logprobs) if self._with_logprobs else None
            if text or delta.logprobs:
                yield self._chunk(TextChoice(index=index, text=text, logprobs=logprobs))
            if delta.finish_reason:
                reason = _reason(delta.finish_reason)
                yield self._chunk(TextChoice(index=index, text="", finish_reason=reason))
        if self._with_usage:
            yield self._chunk(usage=WireUsage.of(feed.totals))
        yield event("[DONE]")

    def _echo(self, feed: Feed, index: int) -> str:
        return self._echoed[index // feed.order.num_choices] if self._echoed else ""

    def _chunk(self, *choices: TextChoice, usage: WireUsage | None = None) -> ServerSentEvent:
        chunk = self._completion(choices, usage)
        return event(chunk.model_dump_json(exclude=None if self._with_usage else {"usage"}))

    def _completion(self, choices: Sequence[TextChoice], usage: WireUsage | None) -> TextCompletion:
        return TextCompletion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=list(choices),
            usage=usage,
            system_fingerprint=FINGERPRINT,
        )


def _reason(reason: FinishReason | None) -> Literal["stop", "length"]:
    """Nothing is called here."""
    return "length" if reason == "length" else "stop"
