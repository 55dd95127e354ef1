"""Workers that die, hang and fail at every kind of work: whoever is in flight is told what they are told
without that, to the last number."""

import asyncio
import random

import pytest

from gateway.engine.flight import MAX_DEATHS
from gateway.engine.prompt import Output, SamplingParams
from gateway.errors import EngineRestarting
from tests.engine.constrained import SCHEMA, call, schema
from tests.engine.faults import all_said, breaking, crowd, random_lives, request, said, undisturbed
from tests.engine.faulty_worker import Fault, What
from tests.engine.test_client import until

REQUESTS = (
    request(0, 9, 2, SamplingParams(18, temperature=0)),
    request(1, 20, 0, SamplingParams(18, temperature=1.5, top_p=0.9, top_k=50, seed=7)),
    request(2, 13, 1, SamplingParams(16, temperature=0, frequency_penalty=1.0, repetition_penalty=1.3)),
    request(3, 30, 0, SamplingParams(15, temperature=0.7, presence_penalty=0.5, seed=3, num_top_logprobs=2)),
    request(4, 6, 1, SamplingParams(40, temperature=0, logit_bias=((9, 2.0),), num_top_logprobs=0)),
    request(5, 9, 0, SamplingParams(30, temperature=1.0, seed=5, grammar=schema(SCHEMA))),
    request(6, 2, 0, SamplingParams(60, temperature=0, frequency_penalty=0.5, grammar=call("[a-z]{3}"))),
)


@pytest.fixture(scope="module")
def expected() -> list[list[Output]]:
    return undisturbed(REQUESTS)


@pytest.mark.parametrize(
    "lives",
    [
        pytest.param([[Fault("encode", 2, "die")], [Fault("encode", 1, "die")]], id="twice while encoding"),
        pytest.param([[Fault("prefill", 30, "fail")]], id="the card refuses a chunk"),
        pytest.param([[Fault("decode", 2, "fail")]], id="the card refuses a token"),
        pytest.param([[Fault("head", 25, "die")]], id="between a token and its logits"),
        pytest.param(
            [[Fault("decode", 100, "die")], [Fault("load", 3, "die")], [Fault("load", 2, "fail")]],
            id="and again while it is started",
        ),
        pytest.param([[Fault("head", 20, "die")]] * 4, id="four times in a row"),
    ],
)
def test_whatever_kills_the_worker_everybody_is_told_the_same(
    lives: list[list[Fault]], monkeypatch: pytest.MonkeyPatch, expected: list[list[Output]]
) -> None:
    async def run() -> None:
        async with breaking(monkeypatch, *lives) as client:
            assert await all_said(client, REQUESTS) == expected
            assert client.status.num_restarts == len(lives)
            assert (client.status.state, client.status.num_requests) == ("ready", 0)

    asyncio.run(run())


@pytest.mark.parametrize("what", ["hang", "card dies"])
def test_a_run_that_never_ends_is_ended(
    what: What, monkeypatch: pytest.MonkeyPatch, expected: list[list[Output]]
) -> None:
    for name, value in (("FLOOR_S", 2.0), ("UNMEASURED_S", 2.0), ("TICK_S", 0.2)):
        monkeypatch.setattr(f"gateway.engine.watch.{name}", value)

    async def run() -> None:
        async with breaking(monkeypatch, [Fault("decode", 60, what)]) as client:
            asked = asyncio.create_task(all_said(client, REQUESTS))
            await until(lambda: client.status.state == "restarting", timeout_s=60)
            levels = client.status.levels
            assert levels["worker"] == "ok"
            assert levels["card"] == "no sign of life for 2 s, when it was to decode"
            assert await asked == expected
            assert client.status.num_restarts >= 1  # on a slow machine a short limit ends one more

    asyncio.run(run())


def test_a_load_that_never_ends_is_ended(
    monkeypatch: pytest.MonkeyPatch, expected: list[list[Output]]
) -> None:
    monkeypatch.setattr("gateway.engine.client.LEAST_RELOAD_S", 1.0)
    monkeypatch.setattr("gateway.engine.client.RELOAD_TIMES", 2)

    async def run() -> None:
        async with breaking(monkeypatch, [Fault("decode", 9, "die")], [Fault("load", 2, "hang")]) as client:
            asked = asyncio.create_task(said(client, REQUESTS[0]))
            await until(lambda: "the model was not loaded within" in client.status.levels["card"], 60)
            assert await asked == expected[0]
            assert client.status.num_restarts >= 2

    asyncio.run(run())


def test_what_cannot_be_repeated_goes_on_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [request(n, 10 + n, n % 2, SamplingParams(20, temperature=1.0)) for n in range(3)]

    async def run() -> None:
        async with breaking(monkeypatch, [Fault("head", 30, "die")]) as client:
            for outputs in await all_said(client, free):
                assert [output.num_completion_tokens for output in outputs] == list(range(1, 21))
                assert outputs[-1].finish_reason == "length"
            assert client.status.num_restarts == 1

    asyncio.run(run())


def test_a_stream_that_was_broken_off_is_cancelled_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with breaking(monkeypatch, [Fault("head", 6, "die")]) as client:
            outputs = client.generate(REQUESTS[4])
            for _ in range(8):
                await anext(outputs)
            await outputs.aclose()
            await until(lambda: client.status.stats and client.status.stats.num_running == 0)
            assert client.status.num_requests == 0

    asyncio.run(run())


POISON = request(9, 3, 3, SamplingParams(5, temperature=0))
PLAIN = tuple(asked for asked in REQUESTS if not asked.prompt.images)


def test_a_request_that_workers_die_of_fails_alone(
    monkeypatch: pytest.MonkeyPatch, expected: list[list[Output]]
) -> None:
    """The only one with pictures, in a world where no picture can be encoded."""
    lives = [[Fault("encode", 1, "die")]] * 9

    async def run() -> None:
        async with breaking(monkeypatch, *lives) as client:
            told = await asyncio.gather(
                *(said(client, asked) for asked in (POISON, *PLAIN)), return_exceptions=True
            )
            assert str(told[0]) == (
                "The engine stopped 3 times while it worked on this request, at last with: exit status -9. "
                "The request is not tried again."
            )
            assert told[1:] == [expected[REQUESTS.index(asked)] for asked in PLAIN]
            assert client.status.num_restarts == MAX_DEATHS
            assert client.status.state == "ready"

    asyncio.run(run())


def test_an_engine_that_does_not_come_back_says_so_until_it_does(
    monkeypatch: pytest.MonkeyPatch, expected: list[list[Output]]
) -> None:
    lives = [[Fault("decode", 1, "fail")], *([[Fault("load", 1, "fail")]] * 5)]

    async def run() -> None:
        async with breaking(monkeypatch, *lives) as client:
            told = await asyncio.gather(
                *(said(client, asked) for asked in REQUESTS[:2]), return_exceptions=True
            )
            assert [type(each) for each in told] == [EngineRestarting] * 2
            assert "cannot be started again (engine_load_from_file(" in str(told[0])
            levels, state = client.status.levels, client.status.state
            assert state == "broken"
            assert (levels["process"], levels["worker"], levels["self_test"]) == ("ok", "ok", "unknown")
            assert levels["card"].startswith("engine_load_from_file(")
            with pytest.raises(EngineRestarting) as caught:
                await said(client, REQUESTS[2])
            assert caught.value.retry_after_s == 2.0
            await until(lambda: client.status.state == "ready", timeout_s=60)
            assert await said(client, REQUESTS[0]) == expected[0]

    asyncio.run(run())


def test_in_a_world_of_random_faults_every_answer_is_what_it_is_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(0)
    requests, lives = crowd(chance, 8), random_lives(chance, 9)
    whole = undisturbed(requests)
    monkeypatch.setattr("gateway.engine.flight.MAX_DEATHS", 100)  # none of them is any request's fault

    async def run() -> None:
        async with breaking(monkeypatch, *lives) as client:
            assert await all_said(client, requests) == whole
            assert client.status.num_requests == 0
            assert client.status.num_restarts >= 5

    asyncio.run(run())
