"""Tells a worker that hangs from one that is slow, by what it does and how long that took before.

Time is counted in ticks of the one who watches: while the whole machine stands still, it does too, and no
worker is blamed for it.
"""

from gateway.engine.generation import WorkKind
from gateway.engine.health import Level
from gateway.engine.messages import Results, Working

TICK_S = 1.0
FLOOR_S = 20.0
"""The least limit. The card itself gives up on a run of the NPU after 10.4 s and answers with an error."""
UNMEASURED_S = 120.0
"""For work of a kind that was never seen to end."""
TIMES = 8
"""So many times the longest of its kind; a prefill behind a long history is slower than the first ones."""


class Watch:
    """What is known of one engine's pace, over all its workers. `tick` is called every TICK_S while there is
    work, `heard` with all that the worker says, `rest` while there is no work or a worker begins."""

    def __init__(self) -> None:
        self._longest: dict[WorkKind, float] = {}
        self._working: Working | None = None
        self._silent_s = 0.0

    def rest(self) -> None:
        self._working, self._silent_s = None, 0.0

    def heard(self, message: Results | Working) -> None:
        self._silent_s = 0.0
        if isinstance(message, Working):
            self._working = message
            if message.longest_s is not None:
                self._longest[message.kind] = message.longest_s

    def tick(self) -> str:
        """Why the worker is taken to hang; empty while it is not."""
        self._silent_s += TICK_S
        if self._silent_s <= self.limit_s:
            return ""
        doing = f", when it was to {self._working.kind}" if self._working else ""
        return f"no sign of life for {self._silent_s:.0f} s{doing}"

    @property
    def level(self) -> Level:
        """What hangs: between two heartbeats there is nothing but calls of the device."""
        return "card" if self._working else "worker"

    @property
    def request_id(self) -> str | None:
        """Whose work it was, the last time that anything was said."""
        return self._working.request_id if self._working else None

    @property
    def limit_s(self) -> float:
        """How long the worker may be silent."""
        if self._working is None:
            return FLOOR_S
        longest_s = self._longest.get(self._working.kind)
        return UNMEASURED_S if longest_s is None else max(FLOOR_S, TIMES * longest_s)
