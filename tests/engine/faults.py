"""Workers that break as planned, and conversations of every kind to go through them."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from backends.axcl.layers import KvWrite
from gateway.chat.expand import expand
from gateway.engine.client import EngineClient
from gateway.engine.messages import WorkerConfig
from gateway.engine.prompt import Identity, Output, Request, SamplingParams
from gateway.vision.encoder import VisionEncoder
from gateway.vision.registry import ENTRIES, Registry
from gateway.vision.spec import VisionSpec
from tests.engine.faulty_worker import PLAN, At, Fault, What
from tests.engine.test_client import HERE, config
from tests.packages import VOCAB, new_folder, vision_package
from tests.vision.pictures import pattern

ENTRY = "axgate-demo-96"
PLACEHOLDER = 5
SOON: dict[At, int] = {"encode": 4, "prefill": 60, "decode": 120, "head": 30, "load": 5}


@cache
def worker_config() -> WorkerConfig:
    """Of a vision model whose pictures take four tokens. There is no self-test, which would count."""
    entry = json.loads(ENTRIES.read_text())[ENTRY] | {"width": 32, "height": 32}
    models = new_folder() / "entries.json"
    models.write_text(json.dumps({"tiny": entry}))
    return replace(config(vision_package().folder), kv_write=KvWrite.DIRECT, vision_models=models)


@asynccontextmanager
async def breaking(patch: pytest.MonkeyPatch, *lives: Sequence[Fault]) -> AsyncIterator[EngineClient]:
    """An engine whose first worker has the faults of the first life, and so on; later ones have none."""
    folder = new_folder()
    (folder / "lives.json").write_text(json.dumps(lives))
    patch.setenv(PLAN, str(folder))
    patch.setattr("gateway.engine.process.WORKER", "tests.engine.faulty_worker")
    patch.setattr("gateway.engine.client.FIRST_PAUSE_S", 0.01)
    client = EngineClient(worker_config())
    await client.load(HERE)
    try:
        yield client
    finally:
        await client.close()


def request(number: int, num_tokens: int, num_pictures: int, sampling: SamplingParams) -> Request:
    """Tokens at random with pictures among them; nobody has anything in common with anybody."""
    chance = np.random.default_rng(number)
    token_ids = chance.integers(PLACEHOLDER + 1, VOCAB, num_tokens).tolist()
    for place in range(num_pictures):
        token_ids.insert(2 + 3 * place, PLACEHOLDER)
    pictures = [encoder().prepare(pattern(20 + number, 30 + place)) for place in range(num_pictures)]
    prompt = expand(token_ids, {PLACEHOLDER}, pictures, encoder())
    return Request(str(number), prompt, sampling, Identity(owner=str(number)))


@cache
def encoder() -> VisionEncoder[VisionSpec]:
    (entry,) = Registry.load(worker_config().vision_models).entries
    return entry.encoder(entry.spec.inputs[0])


async def said(client: EngineClient, asked: Request) -> list[Output]:
    return [output async for output in client.generate(asked)]


async def all_said(client: EngineClient, requests: Sequence[Request]) -> list[list[Output]]:
    """All at once."""
    return await asyncio.gather(*(said(client, asked) for asked in requests))


def undisturbed(requests: Sequence[Request]) -> list[list[Output]]:
    """What each is told by an engine without faults."""

    async def run() -> list[list[Output]]:
        client = EngineClient(worker_config())
        await client.load(HERE)
        try:
            return [await said(client, asked) for asked in requests]
        finally:
            await client.close()

    return asyncio.run(run())


def crowd(chance: random.Random, num_requests: int) -> list[Request]:
    """Conversations of every kind whose answers can be repeated."""
    return [
        request(
            number,
            chance.randint(3, 24),
            chance.choice([0, 0, 1, 2]),
            SamplingParams(
                chance.randint(1, 30),
                temperature=chance.choice([0, 0.8]),
                seed=number,
                presence_penalty=chance.choice([0.0, 0.7]),
                num_top_logprobs=chance.choice([None, 1]),
            ),
        )
        for number in range(num_requests)
    ]


def random_lives(chance: random.Random, number: int) -> list[list[Fault]]:
    """One fault a life, anywhere in its first 25 tokens, and none while the first worker is loaded."""
    whats: list[What] = ["die", "fail"]
    lives = []
    for life in range(number):
        at = chance.choice([at for at in SOON if life or at != "load"])
        what = chance.choice(whats)
        lives.append([Fault(at, chance.randint(1, SOON[at]), what), Fault("head", 25, what)])
    return lives
