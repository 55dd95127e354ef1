"""How fast the server gets done, and so when it is worth to ask again."""

from collections.abc import Callable
from time import monotonic

MEMORY = 32
"""Answers: what was longer ago hardly counts."""

FIRST_GUESS_S = 2.0
"""For an answer, before there was any."""

LEAST_S, MOST_S = 1.0, 60.0
"""Clients obey, and give up above two minutes."""


class Pace:
    """Seconds from one answer's end to the next while there is any to be given, averaged: however many are
    given at the same time, and however long each takes, so soon the next place is free."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._since_s = clock()
        self._busy_s = 0.0
        self._num_ended = 0.0

    def begin(self) -> None:
        """There was nothing to do until now."""
        self._since_s = self._clock()

    def end(self) -> None:
        """An answer is complete."""
        keep, now_s = 1 - 1 / MEMORY, self._clock()
        self._busy_s = self._busy_s * keep + now_s - self._since_s
        self._num_ended = self._num_ended * keep + 1
        self._since_s = now_s

    def wait_s(self, num_ahead: int) -> float:
        """Until so many answers have ended."""
        each_s = self._busy_s / self._num_ended if self._num_ended else FIRST_GUESS_S
        return min(max(each_s * num_ahead, LEAST_S), MOST_S)
