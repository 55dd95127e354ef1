"""The deltas of a choice, put together."""

from dataclasses import dataclass, field

from gateway.api.feed import Feed
from gateway.chat.logprobs import ShownLogprobs
from gateway.chat.reply import CallDelta, Delta, FinishReason


@dataclass(slots=True)
class ToldCall:
    id: str = ""
    name: str = ""
    arguments: str = ""

    def add(self, delta: CallDelta) -> None:
        self.id += delta.id or ""
        self.name += delta.name or ""
        self.arguments += delta.arguments


@dataclass(slots=True)
class Told:
    """All of a choice so far; it has a finish reason when it is whole."""

    text: str = ""
    reasoning: str = ""
    calls: dict[int, ToldCall] = field(default_factory=dict)
    logprobs: list[ShownLogprobs] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def add(self, delta: Delta) -> None:
        self.text += delta.text
        self.reasoning += delta.reasoning
        for call in delta.calls:
            self.calls.setdefault(call.index, ToldCall()).add(call)
        self.logprobs += delta.logprobs
        self.finish_reason = delta.finish_reason


async def gathered(feed: Feed) -> list[Told]:
    """Every choice, in order; raises what ended the generations early."""
    told: dict[int, Told] = {}
    async for piece in feed:
        told.setdefault(piece.index, Told()).add(piece.delta)
    return [told[index] for index in sorted(told)]
