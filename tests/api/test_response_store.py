"""What is kept of responses, for whom, for how long, and how much of it."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.api.responses.store import OVERHEAD_BYTES, Kept, KeptItem, ResponseStore


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def kept(id: str, previous: Kept | None = None, size: int = 0, items: Sequence[str] = ()) -> Kept:
    asked = tuple(KeptItem(item, id.encode()) for item in items)
    return Kept(id, asked, (), b" " * size, previous, 0)


def store(clock: Clock | None = None, **limits: Any) -> ResponseStore:
    limits = {"max_responses": 3, "max_bytes": 10 * OVERHEAD_BYTES, "max_age_s": 60.0} | limits
    return ResponseStore(**limits, clock=clock or Clock())


def found(store: ResponseStore, *ids: str, owner: str = "a") -> list[str]:
    return [id for id in ids if store.find(owner, id)]


def test_nobody_finds_or_drops_what_is_anothers() -> None:
    responses = store()
    responses.keep("a", kept("r1"))
    assert responses.find("b", "r1") is None
    assert not responses.drop("b", "r1")
    assert found(responses, "r1") == ["r1"]


def test_what_was_not_used_for_long_is_forgotten() -> None:
    clock = Clock()
    responses = store(clock)
    responses.keep("a", kept("r1"))
    responses.keep("a", kept("r2"))
    clock.now_s = 59
    assert found(responses, "r1") == ["r1"]
    clock.now_s = 61
    assert found(responses, "r1", "r2") == ["r1"]
    clock.now_s = 122
    assert found(responses, "r1") == []
    assert (len(responses), responses.num_bytes) == (0, 0)


def test_the_least_recently_used_goes_first() -> None:
    responses = store()
    for id in ("r1", "r2", "r3"):
        responses.keep("a", kept(id))
    assert found(responses, "r1") == ["r1"]
    responses.keep("b", kept("r4"))
    assert found(responses, "r1", "r2", "r3") == ["r1", "r3"]


def test_pictures_count_with_all_their_bytes() -> None:
    responses = store()
    responses.keep("a", kept("r1", size=5 * OVERHEAD_BYTES))
    responses.keep("a", kept("r2", size=3 * OVERHEAD_BYTES))
    assert found(responses, "r1", "r2") == ["r1", "r2"]
    responses.keep("a", kept("r3"))
    assert found(responses, "r1", "r2", "r3") == ["r2", "r3"]
    responses.keep("a", kept("r4", size=10 * OVERHEAD_BYTES))
    assert (len(responses), responses.num_bytes) == (0, 0)


def test_whoever_keeps_much_pushes_out_nobody_elses() -> None:
    responses = store(max_bytes=12 * OVERHEAD_BYTES)
    responses.keep("a", kept("r1"))
    for id in ("r2", "r3", "r4", "r5"):
        responses.keep("b", kept(id))
    assert found(responses, "r1") == ["r1"]
    assert found(responses, "r2", "r3", "r4", "r5", owner="b") == ["r4", "r5"]
    responses.keep("b", kept("r6", size=10 * OVERHEAD_BYTES))
    assert found(responses, "r1") == ["r1"]
    assert found(responses, "r4", "r5", "r6", owner="b") == ["r6"]


def test_an_item_is_found_by_its_owner_as_long_as_a_response_that_holds_it() -> None:
    responses = store()
    responses.keep("a", kept("r1", items=["m1", "m1", "m2"]))
    responses.keep("a", kept("r2", items=["m1"]))
    assert responses.find_item("b", "m1") is None
    assert responses.find_item("a", "m1") == KeptItem("m1", b"r2")
    responses.drop("a", "r2")
    assert responses.find_item("a", "m1") == KeptItem("m1", b"r1")
    responses.drop("a", "r1")
    assert responses.find_item("a", "m1") is None
    assert responses.num_bytes == 0


def test_what_others_follow_stays_and_counts_as_long_as_they_do() -> None:
    responses = store(max_responses=1)
    first = kept("r1", size=OVERHEAD_BYTES)
    responses.keep("a", first)
    responses.keep("a", kept("r2", first))
    assert found(responses, "r1", "r2") == ["r2"]
    assert responses.num_bytes == 3 * OVERHEAD_BYTES
    assert responses.drop("a", "r2")
    assert responses.num_bytes == 0


def test_what_is_followed_may_be_forgotten_in_the_meantime() -> None:
    responses = store()
    first = kept("r1")
    responses.keep("a", first)
    responses.drop("a", "r1")
    assert responses.num_bytes == 0
    responses.keep("a", kept("r2", first))
    assert responses.num_bytes == 2 * OVERHEAD_BYTES


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["keep", "follow", "drop", "wait"]), st.integers(0, 9)), max_size=40
    )
)
def test_every_byte_that_is_held_is_counted_and_no_other(steps: list[tuple[str, int]]) -> None:
    clock = Clock()
    responses = store(clock, max_responses=5)
    made: list[Kept] = []
    for step, number in steps:
        if step == "wait":
            clock.now_s += 10 * number
        elif step == "drop":
            responses.drop("a", f"r{number}")
        else:
            previous = made[number % len(made)] if made and step == "follow" else None
            items = [f"m{number % 3}"] * (number % 4)
            made.append(kept(f"r{len(made)}", previous, size=100 * number, items=items))
            responses.keep("a", made[-1])
        held = set()
        for one in made:
            link = one if responses.find("a", one.id) else None
            while link:
                held.add(link)
                link = link.previous
        assert responses.num_bytes == sum(each.num_bytes for each in held)
        named = {item.id for one in made if responses.find("a", one.id) for item in one.items}
        assert {id for id in ("m0", "m1", "m2") if responses.find_item("a", id)} == named
        assert len(responses) <= 5
        assert responses.num_bytes <= 10 * OVERHEAD_BYTES
