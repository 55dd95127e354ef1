"""Several models on one device: who waits, who leaves, and that everybody's turn comes."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.engine.fleet import Fleet
from gateway.errors import EngineFailure
from tests.engine.scripted import Card, fleet

TWO = 80  # bytes; room for two of models that take 20 and 10 for each of two sessions


def within_bounds(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 10))


async def use(one: Fleet, name: str) -> None:
    async with one.using(name) as client:
        assert client.loaded


async def soon(true: Callable[[], bool]) -> None:
    """Until it is so, without any clock."""
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0)
    raise AssertionError


async def started(card: Card, max_sessions: int = 2, **sizes: int) -> Fleet:
    """All loaded that fit."""
    one = fleet(card, max_sessions=max_sessions, **sizes)
    await one.start()
    for name in sizes:
        await one.fill(name)
    return one


def test_all_that_fit_are_loaded_with_fewer_sessions_rather_than_fewer_models() -> None:
    async def scenario() -> None:
        card = Card(95)
        one = await started(card, a=20, b=20, c=20)
        for name in ("a", "b", "c", "a"):
            await use(one, name)
        assert card.log == ["+a", "+b", "+c"]
        assert one.num_sessions == 3

    within_bounds(scenario)


def test_all_go_where_the_first_one_went() -> None:
    async def scenario() -> None:
        card = Card(95)
        await started(card, a=20, b=20, c=20)
        assert card.devices == ["auto", "emulator", "emulator"]

    within_bounds(scenario)


def test_the_least_recently_used_makes_room_and_comes_back() -> None:
    async def scenario() -> None:
        card = Card(TWO)
        one = await started(card, a=20, b=20, c=20)
        for name in ("b", "a", "c", "b", "c"):
            await use(one, name)
        assert card.log == ["+a", "+b", "-b", "+c", "-a", "+b"]
        states = {name: status.state for name, status in one.status.items()}
        assert states == {"a": "unloaded", "b": "ready", "c": "ready"}

    within_bounds(scenario)


def test_a_use_counts_until_it_ends() -> None:
    async def scenario() -> None:
        card = Card(TWO)
        one = await started(card, a=20, b=20, c=20)
        async with one.using("a"):
            await use(one, "b")
        await use(one, "c")
        assert card.log == ["+a", "+b", "-b", "+c"]

    within_bounds(scenario)


def test_while_a_busy_model_is_to_leave_its_newcomers_wait_behind_the_one_it_makes_room_for() -> None:
    async def scenario() -> None:
        card = Card(40)
        one = await started(card, a=20, b=20)
        order = []

        async def ask(name: str) -> None:
            async with one.using(name[0]):
                order.append(name)

        async with one.using("a"):
            tasks = []
            for name in ("b1", "a1", "b2", "a2"):
                tasks.append(asyncio.create_task(ask(name)))
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            assert order == []
            assert {name: status.num_requests for name, status in one.status.items()} == {"a": 2, "b": 2}
        await asyncio.gather(*tasks)
        assert order == ["b1", "b2", "a1", "a2"]
        assert card.log == ["+a", "-a", "+b", "-b", "+a"]

    within_bounds(scenario)


def test_models_are_loaded_in_the_order_in_which_they_were_wanted() -> None:
    async def scenario() -> None:
        card = Card(40)
        one = await started(card, a=20, b=20, c=20, d=20)
        async with one.using("a"):
            waiting = []
            for name in "cbdb":
                waiting.append(asyncio.create_task(use(one, name)))
                await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert card.log == ["+a", "-a", "+c", "-c", "+b", "-b", "+d"]

    within_bounds(scenario)


def test_another_that_falls_idle_first_leaves_in_place_of_the_busy_one() -> None:
    async def scenario() -> None:
        card = Card(TWO)
        one = await started(card, a=20, b=20, c=20)
        async with one.using("a"), AsyncExitStack() as other:
            await other.enter_async_context(one.using("b"))
            waiting = asyncio.create_task(use(one, "c"))
            await soon(lambda: one.status["c"].num_requests == 1)
            entering = asyncio.create_task(use(one, "a"))
            await asyncio.sleep(0.01)
            assert not entering.done()  # a was chosen: it was used before b
            card.gate.clear()
            await other.aclose()
            await entering
            assert not waiting.done()
            card.gate.set()
            await waiting
        assert card.log == ["+a", "+b", "-b", "+c"]

    within_bounds(scenario)


def test_whoever_leaves_the_line_spares_the_model_that_was_to_make_room() -> None:
    async def scenario() -> None:
        card = Card(40)
        one = await started(card, a=20, b=20)
        async with one.using("a"):
            waiting = asyncio.create_task(use(one, "b"))
            await soon(lambda: one.status["b"].num_requests == 1)
            entering = asyncio.create_task(use(one, "a"))
            await asyncio.sleep(0.01)
            assert not entering.done()
            waiting.cancel()
            await entering
        assert card.log == ["+a"]
        assert one.status["b"].num_requests == 0

    within_bounds(scenario)


def test_a_load_goes_on_without_the_one_who_wanted_it() -> None:
    async def scenario() -> None:
        card = Card(40)
        one = await started(card, a=20, b=20)
        card.gate.clear()
        waiting = asyncio.create_task(use(one, "b"))
        await soon(lambda: one.status["b"].state == "loading")
        waiting.cancel()
        card.gate.set()
        await use(one, "b")
        await use(one, "a")
        assert card.log == ["+a", "-a", "+b", "-b", "+a"]

    within_bounds(scenario)


@pytest.mark.parametrize("num_steps", range(12))
def test_leaving_at_any_moment_leaves_no_user_behind(num_steps: int) -> None:
    """A user that is counted for ever would keep its model loaded for ever."""

    async def scenario() -> None:
        card = Card(40)
        one = await started(card, a=20, b=20)
        leaving = asyncio.create_task(use(one, "b"))
        for _ in range(num_steps):
            await asyncio.sleep(0)
        leaving.cancel()
        for name in ("a", "b", "a"):
            await use(one, name)
        assert card.log[-1] == "+a"

    within_bounds(scenario)


def test_what_goes_wrong_is_told_to_all_who_wait_and_the_next_one_tries_again() -> None:
    async def scenario() -> None:
        card = Card(TWO)
        one = fleet(card, a=20, b=20)
        await one.start()
        card.broken.add("b")
        told = await asyncio.gather(use(one, "b"), use(one, "b"), return_exceptions=True)
        assert [str(each) for each in told] == ["The model b cannot be loaded: it is broken."] * 2
        assert all(isinstance(each, EngineFailure) for each in told)
        card.broken.clear()
        await use(one, "b")
        await use(one, "a")
        assert card.log == ["+a", "+b"]

    within_bounds(scenario)


def test_nobody_makes_room_twice_for_a_model_that_is_broken() -> None:
    async def scenario() -> None:
        card = Card(TWO)
        one = fleet(card, a=20, b=20, c=20)
        await one.start()
        await use(one, "b")
        card.broken.add("c")
        for _ in range(2):
            with pytest.raises(EngineFailure, match="The model c cannot be loaded: it is broken"):
                await use(one, "c")
        assert card.log == ["+a", "+b", "-a"]
        card.broken.clear()
        await use(one, "c")  # there is room for it now
        assert card.log == ["+a", "+b", "-a", "+c"]

    within_bounds(scenario)


def test_a_fault_of_ours_is_told_to_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        one = fleet(Card(TWO), a=20, b=20)
        await one.start()

        async def wrong(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(one, "_bring", wrong)
        with pytest.raises(EngineFailure, match=r"The model b cannot be loaded\."):
            await use(one, "b")

    within_bounds(scenario)


def test_a_model_that_takes_more_than_was_known_makes_one_more_leave_and_it_is_remembered() -> None:
    async def scenario() -> None:
        card = Card(100)
        one = fleet(card, peak_bytes=30, max_sessions=1, a=20, b=20, c=20)
        await one.start()
        for name in ("b", "c", "a", "b", "c"):
            await use(one, name)
        # To load a third takes more than two others leave, though in the end it would fit.
        assert card.log == ["+a", "+b", "?c", "-a", "+c", "?a", "-b", "+a", "?b", "-c", "+b", "-a", "+c"]

    within_bounds(scenario)


def test_on_a_device_that_does_not_tell_its_size_it_is_tried() -> None:
    async def scenario() -> None:
        card = Card(70, told=False)
        one = await started(card, max_sessions=1, a=20, b=20, c=20)
        for name in ("a", "b", "c", "a"):
            await use(one, name)
        assert card.log == ["+a", "+b", "?c", "-a", "+c", "-b", "+a"]

    within_bounds(scenario)


def test_what_never_fits_is_told_at_the_start() -> None:
    async def scenario() -> None:
        with pytest.raises(EngineFailure) as caught:
            await fleet(Card(40), a=20, b=50).start()
        assert str(caught.value) == (
            "The model b cannot be loaded: it needs at least 0.0 MB of the device, which has 0.0 MB: 0.0 MB "
            "for its layers and head. What helps: --emulated-memory-mb 1 or more; a package of a smaller "
            "model or with smaller weights, such as int4 in place of int8 (`axgate models --available` lists "
            "published ones)."
        )

    within_bounds(scenario)


def test_what_turns_out_never_to_fit_is_told_when_it_is_wanted() -> None:
    async def scenario() -> None:
        card = Card(40)
        one = await started(card, a=20, b=35)
        for _ in range(2):
            with pytest.raises(EngineFailure, match="The model b cannot be loaded: the device has"):
                await use(one, "b")
        await use(one, "a")

    within_bounds(scenario)


def test_closing_tells_everybody_who_waits() -> None:
    async def scenario() -> None:
        card = Card(TWO)
        one = await started(card, a=20, b=20, c=20)
        card.gate.clear()
        waiting = [asyncio.create_task(use(one, "c")) for _ in range(2)]
        await soon(lambda: one.status["c"].state == "loading")
        waiting.append(asyncio.create_task(use(one, "a")))
        await soon(lambda: one.status["a"].num_requests == 1)
        await one.close()
        told = await asyncio.gather(*waiting, use(one, "b"), return_exceptions=True)
        assert {str(each) for each in told} == {"The server is shutting down."}

    within_bounds(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_in_a_crowd_everybody_is_served_or_has_left(seed: int) -> None:
    """Models of all sizes, few of which fit at a time; some give up, wherever they stand."""
    chance = random.Random(seed)

    async def visit(one: Fleet, name: str) -> bool:
        await asyncio.sleep(chance.random() / 100)
        async with one.using(name) as client:
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(0)
                assert client.loaded
        return True

    async def scenario() -> None:
        card = Card(100)
        sizes = {"a": 20, "b": 30, "c": 40, "d": 70}
        one = await started(card, **sizes)
        visits = [asyncio.create_task(visit(one, chance.choice("abcd"))) for _ in range(200)]
        impatient = set(chance.sample(visits, 50))
        for each in impatient:
            asyncio.get_running_loop().call_later(chance.random() / 50, each.cancel)
        done = await asyncio.gather(*visits, return_exceptions=True)
        for task, result in zip(visits, done, strict=True):
            assert result is True or (task in impatient and isinstance(result, asyncio.CancelledError))
        assert {status.num_requests for status in one.status.values()} == {0}
        for name in "abcd":
            await use(one, name)
        assert card.used <= card.num_bytes

    within_bounds(scenario)
