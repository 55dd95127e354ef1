"""When a worker is taken to hang, and what is said of the levels."""

import pytest

from gateway.engine.engine import EngineStats
from gateway.engine.health import Fault, Level, State, levels
from gateway.engine.messages import Results, Working
from gateway.engine.session import StoreStats
from gateway.engine.watch import FLOOR_S, TICK_S, TIMES, UNMEASURED_S, Watch

HEARTBEAT = Results((), EngineStats(1, 0, StoreStats(1, 0, 0, 0), 0))


def ticks_until_blamed(watch: Watch) -> tuple[float, str]:
    for number in range(1, 10_000):
        if reason := watch.tick():
            return number * TICK_S, reason
    raise AssertionError


def test_a_worker_may_be_silent_as_long_as_its_work_takes() -> None:
    watch = Watch()
    assert ticks_until_blamed(watch) == (FLOOR_S + TICK_S, "no sign of life for 21 s")
    watch.heard(Working("encode", "a", None))
    assert ticks_until_blamed(watch) == (
        UNMEASURED_S + TICK_S,
        "no sign of life for 121 s, when it was to encode",
    )
    watch.heard(Working("decode", "a", 0.07))
    assert ticks_until_blamed(watch) == (FLOOR_S + TICK_S, "no sign of life for 21 s, when it was to decode")
    watch.heard(Working("prefill", "a", 10.0))
    assert ticks_until_blamed(watch)[0] == TIMES * 10 + TICK_S


def test_a_sign_of_life_begins_a_new_count_of_the_same_work() -> None:
    watch = Watch()
    watch.heard(Working("prefill", "a", 5.0))
    for _ in range(30):
        assert not watch.tick()
    watch.heard(HEARTBEAT)
    assert ticks_until_blamed(watch)[0] == TIMES * 5 + TICK_S


def test_what_one_worker_took_is_known_of_the_next() -> None:
    watch = Watch()
    watch.heard(Working("encode", "a", 30.0))
    assert (watch.limit_s, watch.request_id) == (TIMES * 30, "a")
    watch.rest()
    assert [watch.limit_s, watch.request_id] == [FLOOR_S, None]
    watch.heard(Working("encode", "a", None))
    assert watch.limit_s == TIMES * 30


@pytest.mark.parametrize(
    ("state", "fault", "told"),
    [
        ("ready", None, "ok ok ok"),
        ("unloaded", None, "unknown unknown unknown"),
        ("restarting", Fault("worker", "died"), "died unknown unknown"),
        ("broken", Fault("card", "gone"), "ok gone unknown"),
        ("broken", Fault("self_test", "NaN"), "ok ok NaN"),
    ],
)
def test_a_level_is_fine_broken_or_unknown(state: State, fault: Fault | None, told: str) -> None:
    names: tuple[Level, ...] = ("worker", "card", "self_test")
    known = levels(state, fault, tested=True)
    assert [known[name] for name in ("process", *names)] == ["ok", *told.split()]


def test_a_self_test_that_was_not_run_is_not_said_to_be_fine() -> None:
    assert levels("ready", None, tested=False)["self_test"] == "not run"
