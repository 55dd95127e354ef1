"""Deltas -> one completion, or the events of a stream: one path with two endings.

Clients are particular about streams; each of these rules is one that some client breaks without. The role
comes once, in the first chunk; the finish reason once, in the last; usage, when asked for, in one more chunk
without choices, and as null before it. An error after the first byte is an event with OpenAI's error body,
and the end.
"""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass, field
from time import time
from uuid import uuid4

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from gateway import __version__
from gateway.api.completion import (
    AnswerMessage,
    Choice,
    Chunk,
    ChunkChoice,
    Completion,
    PromptTokensDetails,
    WireLogprob,
    WireLogprobs,
    WireToken,
    WireUsage,
)
from gateway.api.protocol import ErrorAnswer, Wire
from gateway.chat.logprobs import ShownLogprobs, TokenLogprob
from gateway.chat.reply import Delta, Usage
from gateway.errors import GatewayError

PING_S = 15  # a comment that keeps proxies from closing a stream whose prompt takes long

LEAST_LOGPROB = -9999.0  # OpenAI's way to say "impossible", for JSON has no infinity

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What all parts of one answer have in common, and its two endings."""

    model: str
    with_logprobs: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time()))
    system_fingerprint: str = f"axgate-{__version__}"

    async def completion(self, deltas: AsyncIterable[Delta]) -> Completion:
        """All in one; raises what ends the generation before its last delta."""
        told = [delta async for delta in deltas]
        last = told[-1]
        assert last.finish_reason is not None
        assert last.usage is not None
        message = AnswerMessage(content="".join(delta.text for delta in told))
        shown = [each for delta in told for each in delta.logprobs]
        logprobs = _logprobs(shown) if self.with_logprobs else None
        return Completion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[Choice(message=message, logprobs=logprobs, finish_reason=last.finish_reason)],
            usage=_usage(last.usage),
            system_fingerprint=self.system_fingerprint,
        )

    def stream(self, deltas: AsyncIterable[Delta], include_usage: bool) -> EventSourceResponse:
        """The same, told as it comes. Lines end in \\n, as OpenAI's do."""
        return EventSourceResponse(self._events(deltas, include_usage), ping=PING_S, sep="\n")

    async def _events(
        self, deltas: AsyncIterable[Delta], include_usage: bool
    ) -> AsyncIterator[ServerSentEvent]:
        try:
            async for chunk in self._chunks(deltas):
                if include_usage or chunk.choices:
                    yield _event(chunk.model_dump_json(exclude=None if include_usage else {"usage"}))
            yield _event("[DONE]")
        except GatewayError as error:
            yield _event(ErrorAnswer.of(error).model_dump_json())
        except Exception:
            log.exception("an answer broke off")
            fault = GatewayError("The server had an error.")
            yield _event(ErrorAnswer.of(fault).model_dump_json())

    async def _chunks(self, deltas: AsyncIterable[Delta]) -> AsyncIterator[Chunk]:
        yield self._chunk(ChunkChoice(delta={"role": "assistant", "content": ""}))
        async for delta in deltas:
            if delta.text or delta.logprobs:
                logprobs = _logprobs(delta.logprobs) if self.with_logprobs else None
                yield self._chunk(ChunkChoice(delta={"content": delta.text}, logprobs=logprobs))
            if delta.finish_reason and delta.usage:
                yield self._chunk(ChunkChoice(delta={}, finish_reason=delta.finish_reason))
                yield self._chunk(usage=_usage(delta.usage))

    def _chunk(self, *choices: ChunkChoice, usage: WireUsage | None = None) -> Chunk:
        return Chunk(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=list(choices),
            usage=usage,
            system_fingerprint=self.system_fingerprint,
        )


def json_response(answer: Wire) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def _event(data: str) -> ServerSentEvent:
    return ServerSentEvent(data, sep="\n")


def _logprobs(shown: Sequence[ShownLogprobs]) -> WireLogprobs:
    return WireLogprobs(content=[_logprob(one) for one in shown])


def _logprob(shown: ShownLogprobs) -> WireLogprob:
    chosen, top = _token(shown.chosen), [_token(token) for token in shown.top]
    return WireLogprob(token=chosen.token, logprob=chosen.logprob, bytes=chosen.bytes, top_logprobs=top)


def _token(token: TokenLogprob) -> WireToken:
    data = None if token.bytes is None else list(token.bytes)
    return WireToken(token=token.text, logprob=max(token.logprob, LEAST_LOGPROB), bytes=data)


def _usage(usage: Usage) -> WireUsage:
    return WireUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
    )
