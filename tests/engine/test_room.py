"""Who makes room for whom, and how many sessions a model gets: numbers in, numbers out."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.room import Need, NoRoom, Tenant, check_fits, leavers, num_sessions


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
    check_fits(5, 5)
    with pytest.raises(NoRoom):
        check_fits(6, 5)


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


def test_a_model_without_room_for_a_session_is_told_with_the_numbers() -> None:
    with pytest.raises(NoRoom) as caught:
        num_sessions(1_000_000, 2_000_000, 8, ())
    assert str(caught.value) == (
        "the device has 1.0 MB left beside the model, and one session's KV cache needs 2.0 MB"
    )


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 20)), min_size=1, max_size=4),
    st.integers(1, 8),
    st.integers(0, 100),
)
def test_models_loaded_one_after_the_other_all_fit_where_each_has_room_for_a_session(
    models: list[tuple[int, int]], wanted: int, spare: int
) -> None:
    """Each is (bytes of the model, bytes of a cache); both are known beforehand, as when loaded again."""
    free = sum(model + cache for model, cache in models) + spare
    for place, (model, cache) in enumerate(models):
        others = [need(*each) for each in models[place + 1 :]]
        sessions = num_sessions(free - model, cache, wanted, others)
        assert 1 <= sessions <= wanted
        free -= model + sessions * cache
    assert free >= 0
