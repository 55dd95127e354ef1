"""Whether a gateway takes requests that are nearly right as it should: many, at random, at one on an
emulated card. Nothing outside this machine is asked.

    python -m bench.fuzz [--requests 1000] [--seed 0] [--seconds 1800] [--first 0]

Each answer has to come in time and be what was asked for, a refusal in OpenAI's shape, or a 503 that says
when to come again. At the end the gateway has to be idle, to be right about pictures, and to be as large as
it was after the first requests; its worker must not have died and its log must hold no error. Exits with 1 if
not. A request is made of the seed and its number alone: `--first N --requests 1` asks one of them again.
"""

import argparse
import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
from rich.console import Console

from bench.fuzz_requests import Asked, asked
from tests.served import Gateway, served, user
from training.examples import examples

AT_ONCE = 4
TIMEOUT_S = 120.0  # of one request; a few are for all the tokens that fit, and share the card with others
SHOWN = 300  # bytes of a request that went wrong
MODEL = "axgate-demo"
OPTIONS = (
    "--max-sessions",
    "4",
    "--host-cache-mb",
    "16",
    "--feature-cache-mb",
    "8",
    "--media-timeout-s",
    "2",
)
"""Caches are small, so that they are full when the memory is looked at for the first time."""
SETTLING = 0.4
"""The share of the requests after which the memory is looked at for the first time."""


@dataclass
class Run:
    """What came of it. Memory is that of the web process and of the worker, in MB, after the first share of
    the requests and at the end."""

    num_asked: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    memory_mb: list[tuple[int, int]] = field(default_factory=list)
    slowest_s: float = 0.0

    @property
    def growth_mb(self) -> int:
        """Of both processes together."""
        return sum(self.memory_mb[-1]) - sum(self.memory_mb[0])


async def fuzz(
    gateway: Gateway, seed: int, first: int, number: int, limit_s: float, max_growth_mb: int
) -> Run:
    """Ask, and look after it."""
    run, began_s = Run(), monotonic()
    asked_of = httpx.AsyncClient(base_url=gateway.base_url.removesuffix("/v1"), timeout=None)
    async with asked_of as client:
        before = await answers(client)
        waiting = iter(range(first, first + number))
        settled = first + int(SETTLING * number)

        async def ask() -> None:
            for place in waiting:
                if monotonic() - began_s > limit_s:
                    return
                if place == settled:
                    run.memory_mb.append(memory_mb(gateway))
                await one(client, run, seed, place)

        await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
        run.defects += [wrong async for wrong in afterwards(client, gateway, before)]
    run.memory_mb.append(memory_mb(gateway))
    if run.growth_mb > max_growth_mb:
        run.defects.append(f"memory went from {run.memory_mb[0]} to {run.memory_mb[-1]} MB")
    return run


async def one(client: httpx.AsyncClient, run: Run, seed: int, place: int) -> None:
    """Ask the request of that number."""
    request = asked(random.Random(f"{seed}/{place}"))
    began_s = monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status, wrong = await answered(client, request)
    except TimeoutError:
        status, wrong = "none", f"no answer within {TIMEOUT_S:.0f} s"
    except (httpx.HTTPError, ValueError, AssertionError) as error:
        status, wrong = "none", f"{type(error).__name__}: {error}"
    run.num_asked += 1
    run.statuses[status] += 1
    run.slowest_s = max(run.slowest_s, monotonic() - began_s)
    if wrong:
        shown = request.body[:SHOWN].decode("utf-8", "backslashreplace")
        run.defects.append(
            f"request {place} to {request.path}: {wrong}; it was ({len(request.body)} bytes) {shown}"
        )


async def answered(client: httpx.AsyncClient, request: Asked) -> tuple[str, str]:
    """The status, and what is wrong with the answer, if anything is."""
    headers = {"content-type": "application/json"}
    async with client.stream("POST", request.path, content=request.body, headers=headers) as response:
        data = b""
        async for part in response.aiter_bytes():
            data += part
            if request.leaves is not None and len(data) > request.leaves:
                return "left", ""
    return str(response.status_code), fault(response, data)


def fault(response: httpx.Response, data: bytes) -> str:
    """Raises ValueError where the body is not what its type says."""
    if "x-request-id" not in response.headers:
        return "no x-request-id"
    if response.status_code >= 500 and not (
        response.status_code == 503 and "retry-after" in response.headers
    ):
        return f"{response.status_code}: {data[:SHOWN]!r}"
    if response.headers["content-type"].startswith("text/event-stream"):
        return _fault_of_stream(data.decode())
    body = json.loads(data, parse_constant=_no_json)
    if response.status_code == 200:
        return "" if isinstance(body, dict) and "error" not in body.get("object", "") else "no object"
    return _fault_of_error(body)


def _fault_of_stream(text: str) -> str:
    lines = [line for line in text.splitlines() if line and not line.startswith((":", "event: "))]
    if not lines or not all(line.startswith("data: ") for line in lines):
        return f"no stream of events: {text[:SHOWN]}"
    *events, last = [line.removeprefix("data: ") for line in lines]
    for event in events:
        if "error" in json.loads(event, parse_constant=_no_json) and "response" not in event:
            return f"an error that is not the last event: {event[:SHOWN]}"
    if last == "[DONE]":
        return ""
    told = json.loads(last, parse_constant=_no_json)
    if told.get("type") in ("response.completed", "response.incomplete"):
        return ""
    return f"the stream broke off: {last[:SHOWN]}"


def _fault_of_error(body: object) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        return f"an error in another shape: {body}"
    kinds = {"message": str, "type": str, "param": str | None, "code": str | None}
    return "".join(
        f"{key} is {error[key]!r}" for key, kind in kinds.items() if not isinstance(error[key], kind)
    )


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


async def afterwards(client: httpx.AsyncClient, gateway: Gateway, before: list[str]) -> AsyncIterator[str]:
    """What is wrong with the gateway when all is over."""
    if (after := await answers(client)) != before:
        yield f"it answers {after} and answered {before}"
    patience = monotonic() + 10
    while any(engine["num_requests"] for engine in (await engines(client)).values()):
        if monotonic() > patience:
            yield f"it is not idle: {await engines(client)}"
            break
        await asyncio.sleep(0.1)
    for name, engine in (await engines(client)).items():
        if engine["num_restarts"] or engine["state"] != "ready":
            yield f"{name} is {engine['state']} after {engine['num_restarts']} restarts"
    for words, number in Counter(errors(gateway.log.read_text("utf-8", "replace"))).items():
        yield f"it logged {number} times {words}"


def errors(log: str) -> Iterator[str]:
    """The last lines of the tracebacks in it, or where there is none, of the errors."""
    entries = re.split(r"^(?=\d{4}-\d\d-\d\dT)", log, flags=re.MULTILINE)
    for entry in entries:
        if " ERROR " in entry or "Traceback" in entry:
            *_, last = entry.strip().splitlines()
            yield last


async def engines(client: httpx.AsyncClient) -> dict[str, Any]:
    told: dict[str, Any] = (await client.get("/health")).json()["engines"]
    return told


async def answers(client: httpx.AsyncClient) -> list[str]:
    """To a question about each of four pictures, after those that the model is right about."""
    told = []
    for example in islice(examples(7, "shape"), 4):
        question = example.questions[0]
        body = {"model": MODEL, "temperature": 0, "messages": [user(question.text, *example.pictures)]}
        reply = (await client.post("/v1/chat/completions", json=body)).json()
        told.append(reply["choices"][0]["message"]["content"])
        assert told[-1] == question.answer
    return told


def memory_mb(gateway: Gateway) -> tuple[int, int]:
    """Of the web process and of the first model's worker (Linux)."""
    web, worker = (resident_mb(pid) for pid in (gateway.process.pid, gateway.worker_pid))
    return web, worker


def resident_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) // 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--requests", type=int, default=1000, help="how many (default: %(default)s)")
    add("--seed", type=int, default=0)
    add("--first", type=int, default=0, help="the number of the first (default: %(default)s)")
    add("--seconds", type=float, default=1800, help="no further ones after so long (default: %(default)s)")
    add("--max-growth", type=int, default=64, metavar="MB", help="of the memory (default: %(default)s)")
    given = parser.parse_args()
    began_s = monotonic()
    with served(*OPTIONS, faults=True) as gateway:
        asked = fuzz(gateway, given.seed, given.first, given.requests, given.seconds, given.max_growth)
        run = asyncio.run(asked)
    console = Console(soft_wrap=True, markup=False, highlight=False)
    for line in told(run, monotonic() - began_s):
        console.print(line)
    return bool(run.defects)


def told(run: Run, took_s: float) -> Iterator[str]:
    yield from run.defects
    yield f"{run.num_asked} requests in {took_s:.0f} s, the slowest in {run.slowest_s:.1f} s"
    yield f"{len(run.defects)} defects"
    yield ", ".join(f"{status}: {number}" for status, number in sorted(run.statuses.items()))
    yield f"memory of the web process and of the worker, in MB: {run.memory_mb}"


if __name__ == "__main__":
    raise SystemExit(main())
