"""Whether conversations survive: many at a time, on an emulated card whose workers die and fail at random.

    python -m bench.survival [--faults 300] [--seed 0]

Every worker has one fault, somewhere in its first work: a process that is killed or a call that the card
refuses, while a graph is loaded, a picture encoded, a chunk prefilled, a token decoded. Conversations come
until all faults have happened, and each has to be told, token for token and probability for probability, what
it is told by an engine without faults. Exits with 1 if one is not.
"""

import argparse
import asyncio
import random
from collections.abc import Sequence
from time import perf_counter

import pytest
from rich.console import Console

from gateway.engine.prompt import Output, Request
from tests.engine.faults import breaking, crowd, random_lives, said, undisturbed

AT_ONCE = 6


async def survived(requests: Sequence[Request], num_faults: int, seed: int) -> tuple[list[list[Output]], int]:
    """What each was told, AT_ONCE at a time, and how many workers there were after the first."""
    lives = random_lives(random.Random(seed), num_faults)
    places = asyncio.Semaphore(AT_ONCE)
    with pytest.MonkeyPatch.context() as patch:
        # No fault here is any request's own, and their number is no reason to give up.
        patch.setattr("gateway.engine.flight.MAX_DEATHS", num_faults)
        patch.setattr("gateway.engine.client.MAX_FAILURES", num_faults)
        async with breaking(patch, *lives) as client:

            async def one(asked: Request) -> list[Output]:
                async with places:
                    return await said(client, asked)

            told = await asyncio.gather(*map(one, requests))
            return told, client.status.num_restarts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    num_right = num_asked = num_deaths = round = 0
    began_s = perf_counter()
    while num_deaths < given.faults:
        seed = given.seed * 1_000_000 + round
        requests = crowd(random.Random(seed), 24)
        expected = undisturbed(requests)
        told, num_restarts = asyncio.run(survived(requests, given.faults - num_deaths, seed))
        num_right += sum(one == other for one, other in zip(told, expected, strict=True))
        num_asked, num_deaths, round = num_asked + len(told), num_deaths + num_restarts, round + 1
    took_s = perf_counter() - began_s
    Console().print(
        f"{num_right} of {num_asked} conversations were told what they are told without faults, over "
        f"{num_deaths} workers that died, in {took_s:.0f} s"
    )
    return num_right < num_asked


if __name__ == "__main__":
    raise SystemExit(main())
