"""The deltas of one answer on their way to one client."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import asdict
from time import monotonic

from gateway.chat.reply import Delta


class Feed:
    """Reads deltas in a task of its own, inside `async with`. So the first can be waited for with a time
    limit, a slow client holds up nothing, and leaving the block ends the generation wherever it stands."""

    def __init__(self, deltas: AsyncGenerator[Delta, None]) -> None:
        self._deltas = deltas
        self._unread: asyncio.Queue[Delta | None] = asyncio.Queue()
        self._moved = asyncio.Event()
        self._start_s = monotonic()
        self._first_s: float | None = None
        self._last_s = self._start_s
        self._last: Delta | None = None
        self._finish = "cancelled"

    async def __aenter__(self) -> "Feed":
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """Each delta once; raises what ended the generation before its last one."""
        while (delta := await self._unread.get()) is not None:
            yield delta
        await self._reading

    async def begun(self, patience_s: float) -> None:
        """Returns at the first delta or when patience is over; raises what ended the generation before."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._moved.wait(), patience_s)
        if self._reading.done():
            self._reading.result()

    @property
    def facts(self) -> dict[str, object]:
        """For the log: counts, finish reason, milliseconds to the first delta, tokens per second after it."""
        facts: dict[str, object] = {"finish": self._finish}
        if self._first_s is not None:
            facts["first_ms"] = round((self._first_s - self._start_s) * 1000, 1)
        if self._last is None or self._last.usage is None or self._first_s is None:
            return facts
        usage, writing_s = self._last.usage, self._last_s - self._first_s
        if writing_s > 0:
            facts["tokens_per_s"] = round((usage.completion_tokens - 1) / writing_s, 1)
        return facts | asdict(usage)

    async def _read(self) -> None:
        try:
            async with aclosing(self._deltas):
                async for delta in self._deltas:
                    self._note(delta)
                    self._unread.put_nowait(delta)
                    self._moved.set()
        except Exception:
            self._finish = "error"
            raise
        finally:
            self._unread.put_nowait(None)
            self._moved.set()

    def _note(self, delta: Delta) -> None:
        self._last, self._last_s = delta, monotonic()
        self._first_s = self._first_s or self._last_s
        self._finish = delta.finish_reason or self._finish
