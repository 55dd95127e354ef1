"""What a request costs: requests and streamed tokens a second through the whole stack on a card that takes no
time, and whose code the web process spends its time in.

    python -m bench.api [--seconds 5] [--repeat 5]

The gateway, its worker and the clients (this one, with connections that are kept) are a process each. The NPU
does nothing (idle_worker.py), so what is left is HTTP, chat, the pipe between the processes, the engine, the
decode loop's calls and the sampler. Rates are medians; shares are of one more run of each, with a profile
(profile.py), whose rate is told beside, so that one sees what it disturbs.
"""

import argparse
import asyncio
import json
import os
import re
import signal
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.table import Table

from bench.profile import Spent, ours, shares, whose
from gateway.demo import MODEL_NAME
from tests.served import Gateway, served, user
from tests.vision.pictures import pattern

NUM_TOKENS = 64
NUM_LINES = 12
LEAST_SHARE = 0.02
WARM_UP_S = 1.0
SAY_HI = {"role": "user", "content": "Say hi."}
STREAMED = {"max_tokens": NUM_TOKENS, "stream": True}


@dataclass(frozen=True)
class Load:
    """What so many clients ask, each again and again."""

    name: str
    num_clients: int
    body: dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """In a second, and milliseconds of processor time of a request. `first_ms` is the median until the first
    event, or until all of an answer in one piece."""

    requests: float
    tokens: float
    first_ms: float
    web_ms: float
    worker_ms: float


def loads() -> Iterator[Load]:
    kinds: dict[str, dict[str, Any]] = {
        "1 token, in one piece": {"messages": [SAY_HI], "max_tokens": 1},
        f"{NUM_TOKENS} tokens, in one piece": {"messages": [SAY_HI], "max_tokens": NUM_TOKENS},
        f"{NUM_TOKENS} tokens, streamed": {"messages": [SAY_HI]} | STREAMED,
        f"2 pictures again, {NUM_TOKENS} streamed": {"messages": conversation()} | STREAMED,
    }
    for name, body in kinds.items():
        for num_clients in (1, 8):
            yield Load(name, num_clients, {"model": MODEL_NAME} | body)


def conversation() -> list[Any]:
    """The third turn of a chat as Open WebUI sends it: all pictures, as they were, once more."""
    first, second = (user("What is this?", pattern(*size)) for size in ((640, 480), (480, 640)))
    said = {"role": "assistant", "content": "A pattern."}
    return [first, said, second, said, {"role": "user", "content": "Compare them."}]


async def measured(gateway: Gateway, load: Load, seconds: float) -> Measured:
    before = [cpu_ms(pid) for pid in (gateway.process.pid, gateway.worker_pid)]
    began_s = monotonic()
    firsts_s: list[float] = []
    await asyncio.gather(
        *(client(gateway, load, began_s + seconds, firsts_s) for _ in range(load.num_clients))
    )
    took_s, number = monotonic() - began_s, len(firsts_s)
    web_ms, worker_ms = (
        cpu_ms(pid) - ms for pid, ms in zip((gateway.process.pid, gateway.worker_pid), before, strict=True)
    )
    rate = number / took_s
    tokens = rate * load.body["max_tokens"]
    return Measured(rate, tokens, 1000 * median(firsts_s), web_ms / number, worker_ms / number)


async def client(gateway: Gateway, load: Load, until_s: float, firsts_s: list[float]) -> None:
    """Ask on one connection until then; each answer has to be whole."""
    url = urlsplit(gateway.base_url)
    data = json.dumps(load.body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1",
        f"Host: {url.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
    )
    request = "\r\n".join([*head, "", ""]).encode() + data
    reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1 << 20)
    with closing(writer):
        while (asked_s := monotonic()) < until_s:
            writer.write(request)
            status = await reader.readuntil(b"\r\n\r\n")
            assert status.startswith(b"HTTP/1.1 200 "), status
            if length := re.search(rb"content-length: (\d+)", status):
                answer = await reader.readexactly(int(length[1]))
                firsts_s.append(monotonic() - asked_s)
                assert b'"finish_reason":"length"' in answer
                continue
            answer = await reader.readuntil(b"\n\n")
            firsts_s.append(monotonic() - asked_s)
            answer += await reader.readuntil(b"\r\n0\r\n\r\n")
            assert answer.count(b"data: ") > NUM_TOKENS
            assert b"[DONE]" in answer


def cpu_ms(pid: int) -> float:
    """Processor time so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def profiled(gateway: Gateway, load: Load, seconds: float, path: Path) -> tuple[Measured, Spent]:
    """The same with a profile, which `path` is for."""
    path.unlink(missing_ok=True)
    gateway.process.send_signal(signal.SIGUSR1)
    result = await measured(gateway, load, seconds)
    gateway.process.send_signal(signal.SIGUSR1)
    while not path.exists():
        await asyncio.sleep(0.01)
    return result, Spent(json.loads(path.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5, help="of each run (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each (default: %(default)s)")
    given = parser.parse_args()
    rates = Table(
        *("asked", "clients", "requests/s", "tokens/s", "first ms", "web ms", "worker ms", "axgate's share"),
        "with profile",
    )
    spent: dict[str, Spent] = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "profile.json"
        os.environ["PROFILE"] = str(path)
        with served(module="bench.idle_gateway") as gateway:
            while any(engine["state"] != "ready" for engine in engines(gateway)):
                sleep(0.1)
            for load in loads():
                asyncio.run(measured(gateway, load, min(given.seconds, WARM_UP_S)))
                runs = [asyncio.run(measured(gateway, load, given.seconds)) for _ in range(given.repeat)]
                disturbed, lines = asyncio.run(profiled(gateway, load, given.seconds, path))
                told = f"{shares(lines, whose).get('axgate', 0):.0%}", f"{disturbed.requests:.0f}"
                rates.add_row(load.name, str(load.num_clients), *row(runs), *told)
                spent.setdefault(load.name, Spent()).update(lines)
    console = Console(width=150)
    console.print(rates)
    for name, lines in spent.items():
        console.print(f"\n{name}, all clients:", *whereabouts(lines), sep="\n", markup=False, highlight=False)


def engines(gateway: Gateway) -> Collection[dict[str, Any]]:
    """Of all models: those behind the first are loaded while it answers."""
    told: dict[str, dict[str, Any]] = httpx.get(gateway.base_url.replace("/v1", "/health")).json()["engines"]
    return told.values()


def row(runs: Sequence[Measured]) -> Iterator[str]:
    """The medians."""
    for name, digits in (("requests", 0), ("tokens", 0), ("first_ms", 1), ("web_ms", 2), ("worker_ms", 2)):
        yield f"{median(getattr(run, name) for run in runs):,.{digits}f}"


def whereabouts(lines: Spent) -> Iterator[str]:
    """The packages that take most of the web process's time, and the lines of ours that do."""
    found = shares(lines, whose)
    yield ", ".join(f"{name} {share:.0%}" for name, share in found.items() if share >= LEAST_SHARE)
    for line, share in islice(shares(lines, ours).items(), NUM_LINES + 1):
        if line:
            yield f"{share:6.1%}  {line}"


if __name__ == "__main__":
    main()
