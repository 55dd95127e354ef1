"""What is known of the levels an answer rests on, each of which needs the one before it.

process    the web process, which answers
worker     the process that owns the device
card       calls of the device
self_test  the checks of what the card computes, at load
"""

from dataclasses import dataclass
from typing import Literal, get_args

State = Literal["unloaded", "loading", "ready", "restarting", "broken", "closed"]
STATES: tuple[State, ...] = get_args(State)
Level = Literal["worker", "card", "self_test"]
LEVELS: tuple[Level, ...] = ("worker", "card", "self_test")
FINE, UNKNOWN, NOT_RUN = "ok", "unknown", "not run"


@dataclass(frozen=True, slots=True)
class Fault:
    """Where an engine is broken, and why."""

    level: Level
    reason: str


def levels(state: State, fault: Fault | None, *, tested: bool) -> dict[str, str]:
    """By level `ok`, the reason why it is broken, or `unknown`: nothing is known of an engine that is not
    loaded, nor beyond the level that is broken. The self-test is `not run` where the settings leave nothing
    to test."""
    known: list[str] = []
    if state == "ready":
        known = [FINE, FINE, FINE if tested else NOT_RUN]
    elif fault:
        known = [FINE] * LEVELS.index(fault.level) + [fault.reason]
    known += [UNKNOWN] * (len(LEVELS) - len(known))
    return {"process": FINE, **dict(zip(LEVELS, known, strict=True))}
