"""Who makes room for whom, and how many sessions a model gets: numbers in, numbers out."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.room import Need, NoRoom, Tenant, leavers, num_sessions


def tenant(name: str, num_bytes: int, used: int = 0, *, busy: bool = False, leaving: bool = False) -> Tenant:
    return Tenant(name, num_bytes, busy, leaving, used)


@pytest.mark.parametrize(
    ("needed", "free", "tenants", "chosen"),
    [
        (5, 5, [tenant("a", 9)], ()),
        (5, 4, [tenant("a", 9, used=2), tenant("b", 9, used=1)], ("b",)),
        (5, 4, [tenant("a", 9, used=2), tenant("b", 9, used=1, busy=True)], ("a",)),
        (5, 4, [tenant("a", 9, used=2, busy=True), tenant("b", 9, used=1, busy=True)], ("b",)),
        (5, 4, [tenant("a", 9, used=2, busy=True, leaving=True), tenant("b", 9, used=1, busy=True)], ("a",)),
        (5, 4, [tenant("a", 9, used=2, busy=True, leaving=True), tenant("b", 9, used=1)], ("b",)),
        (9, 0, [tenant("a", 5, used=1), tenant("b", 5, used=2), tenant("c", 5, used=3)], ("a", "b")),
        (9, 0, [tenant("a", 1, used=1), tenant("b", 9, used=2)], ("b",)),
        (9, 0, [tenant("a", 1, used=1), tenant("b", 3, used=2), tenant("c", 8, used=3)], ("a", "c")),
    ],
    ids=[
        "it fits",
        "the least recently used leaves",
        "an idle one before a busy one",
        "of busy ones the least recently used",
        "of busy ones the one already chosen",
        "an idle one before one already chosen",
        "as many as it takes",
        "a small one is spared where a large one does",
        "the more recently used is spared first",
    ],
)
def test_who_leaves(needed: int, free: int, tenants: list[Tenant], chosen: tuple[str, ...]) -> None:
    assert leavers(needed, free, tenants) == chosen


tenants = st.builds(
    Tenant, st.uuids().map(str), st.integers(1, 50), st.booleans(), st.booleans(), st.integers(0, 100)
)


@given(st.integers(1, 100), st.integers(0, 50), st.lists(tenants, max_size=5))
def test_those_who_leave_make_room_and_none_of_them_in_vain(
    needed: int, free: int, found: list[Tenant]
) -> None:
    if needed > free + sum(each.num_bytes for each in found):
        with pytest.raises(NoRoom):
            leavers(needed, free, found)
        return
    chosen = [each for each in found if each.name in leavers(needed, free, found)]
    assert needed <= free + sum(each.num_bytes for each in chosen)
    for some in combinations(chosen, max(len(chosen) - 1, 0)):
        assert not chosen or needed > free + sum(each.num_bytes for each in some)


def test_what_never_fits_is_told_with_the_numbers() -> None:
    with pytest.raises(NoRoom) as caught:
        leavers(3_000_000, 0, [tenant("a", 1_500_000), tenant("b", 1_000_000)])
    assert str(caught.value) == "it needs at least 3.0 MB of the device, which has 2.5 MB"


SMALLER = (
    "a package of a smaller model or with smaller weights, such as int4 in place of int8 (`axgate models "
    "--available` lists published ones)"
)
QWEN = Need(2_000_000_000, 250_000_000, 2_045_000_000, vision_bytes=440_000_000, context_length=2047)
PARTS = "1560.0 MB for its layers and head, 440.0 MB for its vision graph, 250.0 MB for one session of up to "


@pytest.mark.parametrize(
    ("need", "free", "emulated_bytes", "told"),
    [
        (
            QWEN,
            2_100_000_000,
            None,
            f"it needs at least 2250.0 MB of the device, which has 2100.0 MB: {PARTS}2,047 tokens. "
            "What helps: to stop other programs that use the card, which axcl-smi shows; a package compiled "
            f"for a context of no more than about 818 tokens; {SMALLER}",
        ),
        (
            QWEN,
            1_000_000_000,
            3_000_000_000,
            f"it needs at least 2250.0 MB of the device, which has 1000.0 MB: {PARTS}2,047 tokens. "
            f"What helps: --emulated-memory-mb 4250 or more; {SMALLER}",
        ),
        (
            Need(1_000_000, 10_000, 1_500_000),
            1_400_000,
            1_400_000,
            "it needs at least 1.5 MB of the device, which has 1.4 MB: 1.0 MB for its layers and head, 0.5 "
            f"MB for a moment while it is loaded. What helps: --emulated-memory-mb 2 or more; {SMALLER}",
        ),
    ],
    ids=["no room for a session", "no room at all", "no room to load"],
)
def test_a_model_that_does_not_fit_is_refused_with_the_numbers_and_what_helps(
    need: Need, free: int, emulated_bytes: int | None, told: str
) -> None:
    need.check(None, emulated_bytes)
    need.check(need.least_bytes(), emulated_bytes)
    with pytest.raises(NoRoom) as caught:
        need.check(free, emulated_bytes)
    assert str(caught.value) == told


def need(model_bytes: int, cache_bytes: int | None = None, load_bytes: int = 0) -> Need:
    return Need(model_bytes, cache_bytes, load_bytes)


@pytest.mark.parametrize(
    ("free", "wanted", "others", "found"),
    [
        (100, 8, (), 8),
        (35, 8, (), 3),
        (10, 8, (), 1),
        (90, 8, (need(20, 10),), 3),  # of the 50 that nobody needs, half
        (90, 8, (need(20),), 3),  # a cache of unknown size is taken to be as large
        (90, 8, (need(20), need(20)), 1),
        (90, 8, (need(20, 10), need(20, 31)), 3),  # the second one does not fit beside the first
        (90, 8, (need(85), need(20)), 3),  # the first one never fits
        (20, 8, (need(1, 10),), 2),  # beside one session of this model the other has no room
        (25, 8, (need(5, 10),), 1),
        (90, 8, (need(20, 10, 70),), 1),  # which takes more while it is loaded
        (1000, 4, (need(10), need(10)), 4),
    ],
)
def test_how_many_sessions(free: int, wanted: int, others: tuple[Need, ...], found: int) -> None:
    assert num_sessions(free, 10, wanted, others) == found


@pytest.mark.parametrize(
    ("free", "peak", "others", "found"),
    [
        (100, 45, (), 8),
        (45, 45, (), 4),
        (90, 45, (need(20, 10),), 5),  # 45 are its own in any case, and of the other 45 nobody needs 15
        (90, 85, (need(20, 10),), 8),  # the other one does not fit beside it
        (30, 45, (), 3),
    ],
)
def test_what_it_takes_to_be_loaded_once_more_stays_the_models_own_and_holds_sessions(
    free: int, peak: int, others: tuple[Need, ...], found: int
) -> None:
    assert num_sessions(free, 10, 8, others, peak) == found


def test_a_model_without_room_for_a_session_is_told_with_the_numbers() -> None:
    with pytest.raises(NoRoom) as caught:
        num_sessions(1_000_000, 2_000_000, 8, ())
    assert str(caught.value) == (
        "the device has 1.0 MB left beside the model, and one session's KV cache needs 2.0 MB"
    )


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 20), st.integers(0, 60)), min_size=1, max_size=4),
    st.integers(1, 8),
    st.integers(0, 100),
)
def test_models_loaded_one_after_the_other_all_fit_and_each_can_be_loaded_again(
    models: list[tuple[int, int, int]], wanted: int, spare: int
) -> None:
    """Each is (bytes of the model, of a cache, and of the peak while it is loaded); all are known beforehand,
    as when loaded again."""
    needs = [Need(model, cache, model + peak) for model, cache, peak in models]
    free = sum(each.least_bytes() for each in needs) + spare
    for place, (model, cache, peak) in enumerate(models):
        assert needs[place].least_bytes() <= free
        sessions = num_sessions(free - model, cache, wanted, needs[place + 1 :], peak)
        assert 1 <= sessions <= wanted
        free -= max(model + sessions * cache, model + peak)  # EngineInfo.reserved_bytes
    assert free >= 0
