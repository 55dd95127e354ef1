"""docs/operations.md says what the supervisor does."""

from pathlib import Path

from backends.axcl.cures import HEARTBEAT_BUS, LEAST_CMA_BYTES
from gateway.api.delivery import PING_S
from gateway.engine.client import (
    FIRST_PAUSE_S,
    LEAST_RELOAD_S,
    LOAD_TIMEOUT_S,
    LONGEST_PAUSE_S,
    MAX_FAILURES,
    OPEN_TIMEOUT_S,
    RELOAD_TIMES,
)
from gateway.engine.flight import MAX_DEATHS
from gateway.engine.health import LEVELS
from gateway.engine.process import CLOSE_TIMEOUT_S, DYING_S
from gateway.engine.watch import FLOOR_S, TIMES, UNMEASURED_S

PAGE = " ".join((Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8").split())


def test_the_limits_are_as_written() -> None:
    for sentence in (
        f"{TIMES} times the longest run of that kind",
        f"at least {FLOOR_S:.0f} s, and {UNMEASURED_S:.0f} s for a kind that was never seen to end",
        f"may take {LOAD_TIMEOUT_S:.0f} s the first time and then {RELOAD_TIMES} times as long",
        f"at least {LEAST_RELOAD_S:.0f} s.",
        f"has {OPEN_TIMEOUT_S:.0f} s to be opened",
        f"left behind after {DYING_S:.0f} s",
        f"gives each worker {CLOSE_TIMEOUT_S:.0f} s",
        f"a comment every {PING_S:.0f} s",
        f"working on {MAX_DEATHS} times when it died",
        f"After {MAX_FAILURES} workers in a row",
        f"`broken` after {MAX_FAILURES} failures in a row",
        f"from {FIRST_PAUSE_S} s to {LONGEST_PAUSE_S:.0f} s",
        f"less than {LEAST_CMA_BYTES >> 20} MiB of `CmaFree`",
        f"heartbeats only from bus {HEARTBEAT_BUS} ",
        f"slot_index_force={HEARTBEAT_BUS}",
    ):
        assert sentence in PAGE, sentence


def test_every_level_has_its_row() -> None:
    for level in ("process", *LEVELS):
        assert f"| `{level}` |" in PAGE
