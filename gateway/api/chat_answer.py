"""Deltas -> one chat completion, or the chunks of a stream: one path with two endings.

Each of these rules is one that some client breaks without. The role comes once for each choice, in its first
chunk; id, name and type of a tool call once, in its first piece; the finish reason once, in the last chunk of
a choice; usage, when asked for, in one more chunk without choices, and as null before it.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import time
from typing import Any
from uuid import uuid4

from sse_starlette import ServerSentEvent

from gateway.api.chat_completion import Choice, Chunk, ChunkChoice, Completion
from gateway.api.delivery import Answer, event
from gateway.api.feed import Feed
from gateway.api.logprobs import WireLogprobs
from gateway.api.told import Told, gathered
from gateway.api.usage import WireUsage
from gateway.api.wire import FINGERPRINT
from gateway.chat.reply import CallDelta, Delta


@dataclass(frozen=True, slots=True)
class ChatAnswer(Answer):
    """What all parts of one answer have in common, and its two endings."""

    model: str
    with_logprobs: bool
    with_usage: bool
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time()))

    async def whole(self, feed: Feed) -> Completion:
        choices = [self._choice(index, told) for index, told in enumerate(await gathered(feed))]
        return Completion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=choices,
            usage=WireUsage.of(feed.totals),
            system_fingerprint=FINGERPRINT,
        )

    async def events(self, feed: Feed) -> AsyncIterator[ServerSentEvent]:
        begun: set[int] = set()
        async for piece in feed:
            index, delta = piece.index, piece.delta
            if index not in begun:
                begun.add(index)
                yield self._chunk(ChunkChoice(index=index, delta=_opening(delta)))
            if said := _said(delta):
                logprobs = WireLogprobs.of(delta.logprobs) if self.with_logprobs else None
                yield self._chunk(ChunkChoice(index=index, delta=said, logprobs=logprobs))
            if delta.finish_reason:
                yield self._chunk(ChunkChoice(index=index, delta={}, finish_reason=delta.finish_reason))
        if self.with_usage:
            yield self._chunk(usage=WireUsage.of(feed.totals))
        yield event("[DONE]")

    def _choice(self, index: int, told: Told) -> Choice:
        assert told.finish_reason is not None
        return Choice(
            index=index,
            message=_message(told),
            logprobs=WireLogprobs.of(told.logprobs) if self.with_logprobs else None,
            finish_reason=told.finish_reason,
        )

    def _chunk(self, *choices: ChunkChoice, usage: WireUsage | None = None) -> ServerSentEvent:
        chunk = Chunk(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=list(choices),
            usage=usage,
            system_fingerprint=FINGERPRINT,
        )
        return event(chunk.model_dump_json(exclude=None if self.with_usage else {"usage"}))


def _message(told: Told) -> dict[str, Any]:
    """Content is null where tools are called instead."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": told.text if told.text or not told.calls else None,
        "refusal": None,
    }
    if told.reasoning:
        message["reasoning_content"] = told.reasoning
    if told.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for _, call in sorted(told.calls.items())
        ]
    return message


def _opening(delta: Delta) -> dict[str, Any]:
    only_calls = delta.calls and not delta.text
    return {"role": "assistant", "content": None if only_calls else "", "refusal": None}


def _said(delta: Delta) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if delta.reasoning:
        said["reasoning_content"] = delta.reasoning
    if delta.text or (delta.logprobs and not delta.reasoning and not delta.calls):
        said["content"] = delta.text
    if delta.calls:
        said["tool_calls"] = [_call(call) for call in delta.calls]
    return said


def _call(call: CallDelta) -> dict[str, Any]:
    if call.id is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"index": call.index, "id": call.id, "type": "function", "function": function}
