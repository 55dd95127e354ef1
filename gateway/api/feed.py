"""An order being carried out: from its prompt to the last delta of its last choice, on the way to one
client."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from time import monotonic
from uuid import uuid4

from gateway.api.order import Order
from gateway.chat.conversation import Turn
from gateway.chat.model import ChatModel
from gateway.chat.reply import Delta, Usage
from gateway.engine.client import EngineClient
from gateway.engine.prompt import Output, Request, SamplingParams

PREPARING_S = 20.0
"""How long a stream waits for its prompt before it begins without. Until then an error has a status of its
own, afterwards it can only be an event: longer than a picture takes, shorter than proxies wait."""

QUIET_S = 1.0
"""How long it waits for the first delta after that."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A delta of the choice number `index`."""

    index: int
    delta: Delta


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all choices together: a prompt is computed, and counted, once. Image tokens are among its own,
    reasoning tokens among those of the completions."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    image_tokens: int
    reasoning_tokens: int


class Feed:
    """Prepares the prompt and reads the generations in a task of its own, inside `async with`. So the first
    delta can be waited for with a time limit, a slow client holds up nothing, and leaving the block ends all
    of it wherever it stands.

    Choice number c is continuation c % num_choices of turn c // num_choices. The first continuation of a turn
    goes ahead until its prompt is in a KV cache, from where the others copy it.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.turns: tuple[Turn, ...] = ()
        """Empty until the prompts are prepared."""
        self._unread: asyncio.Queue[Piece | None] = asyncio.Queue()
        self._prepared = asyncio.Event()
        self._moved = asyncio.Event()
        self._start_s = self._last_s = monotonic()
        self._first_s: float | None = None
        self._last: dict[int, Delta] = {}
        self._finish = "cancelled"

    async def __aenter__(self) -> "Feed":
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """Each delta once, those of one choice in order; raises what ended the generations early."""
        while (piece := await self._unread.get()) is not None:
            yield piece
        await self._running

    async def begun(self) -> None:
        """Returns when a stream of it may begin; raises what ended it before."""
        await _patiently(self._prepared, PREPARING_S)
        if self.turns:
            await _patiently(self._moved, QUIET_S)
        if self._running.done():
            self._running.result()

    @property
    def moving(self) -> bool:
        """Whether the first delta is there."""
        return self._first_s is not None

    @property
    def totals(self) -> Totals:
        """Once all deltas were read."""
        usages = [usage for delta in self._last.values() if (usage := delta.usage)]
        leading = [self._usage(place * self.order.num_choices) for place in range(len(self.turns))]
        return Totals(
            prompt_tokens=sum(usage.prompt_tokens for usage in leading),
            completion_tokens=sum(usage.completion_tokens for usage in usages),
            cached_tokens=sum(usage.cached_tokens for usage in leading),
            image_tokens=sum(turn.prompt.num_image_tokens for turn in self.turns),
            reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
        )

    @property
    def ignored(self) -> list[str]:
        """What is accepted and left out all the same, as far as it is known: Open WebUI sends its tools with
        every chat."""
        return ["tools"] if any(turn.tools_left_out for turn in self.turns) else []

    @property
    def facts(self) -> dict[str, object]:
        """For the log: counts, finish reason, milliseconds to the first delta, and how many tokens a second a
        choice got after it."""
        facts: dict[str, object] = {"finish": self._finish}
        if self.order.num_choices > 1:
            facts["choices"] = self.order.num_choices
        if self._first_s is not None:
            facts["first_ms"] = round((self._first_s - self._start_s) * 1000, 1)
        if not self._complete or self._first_s is None:
            return facts
        totals, writing_s = self.totals, self._last_s - self._first_s
        if writing_s > 0:
            facts["tokens_per_s"] = round((totals.completion_tokens / len(self._last) - 1) / writing_s, 1)
        return facts | {
            "prompt_tokens": totals.prompt_tokens,
            "completion_tokens": totals.completion_tokens,
            "cached_tokens": totals.cached_tokens,
        }

    @property
    def _complete(self) -> bool:
        ended = [delta for delta in self._last.values() if delta.finish_reason]
        return bool(self.turns) and len(ended) == len(self.turns) * self.order.num_choices

    def _usage(self, index: int) -> Usage:
        usage = self._last[index].usage
        assert usage is not None
        return usage

    async def _run(self) -> None:
        order = self.order
        try:
            model = await order.offer.chat()
            self.turns = tuple(await order.prepare(model))
            self._prepared.set()
            async with order.offer.engine() as client, asyncio.TaskGroup() as group:
                for place, turn in enumerate(self.turns):
                    ahead = asyncio.Event()
                    for number in range(order.num_choices):
                        group.create_task(self._continue(client, model, turn, place, number, ahead))
        except Exception as failed:
            self._finish = "error"
            raise _first(failed) from None
        finally:
            self._unread.put_nowait(None)
            self._prepared.set()
            self._moved.set()

    async def _continue(
        self,
        client: EngineClient,
        model: ChatModel,
        turn: Turn,
        place: int,
        number: int,
        ahead: asyncio.Event,
    ) -> None:
        if number:
            await ahead.wait()
        room = model.context_length - turn.prompt.num_tokens
        sampling = _varied(self.order.sampling(model.defaults, room), number)
        request = Request(
            uuid4().hex, turn.prompt, replace(sampling, grammar=turn.grammar), self.order.identity
        )
        outputs = _noted(client.generate(request), ahead)
        async with aclosing(model.read_reply(turn, outputs, self.order.stop)) as deltas:
            async for delta in deltas:
                self._tell(Piece(place * self.order.num_choices + number, delta))

    def _tell(self, piece: Piece) -> None:
        self._last[piece.index], self._last_s = piece.delta, monotonic()
        self._first_s = self._first_s or self._last_s
        if piece.delta.finish_reason and self._complete:
            self._finish = self._last[0].finish_reason or self._finish
        self._unread.put_nowait(piece)
        self._moved.set()


def _varied(sampling: SamplingParams, number: int) -> SamplingParams:
    """Continuations of one prompt draw differently, and the same the next time."""
    return sampling if sampling.seed is None else replace(sampling, seed=(sampling.seed + number) % 2**64)


async def _noted(outputs: AsyncGenerator[Output, None], begun: asyncio.Event) -> AsyncGenerator[Output, None]:
    async with aclosing(outputs):
        async for output in outputs:
            begun.set()
            yield output


async def _patiently(event: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def _first(failed: BaseException) -> BaseException:
    """One sentence is enough for the client."""
    return _first(failed.exceptions[0]) if isinstance(failed, BaseExceptionGroup) else failed
