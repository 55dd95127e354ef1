"""Many users at random: whatever they do to each other, each is told what it would be told alone."""

import random
from functools import cache

import pytest

from gateway.engine.engine import Engine
from gateway.engine.prompt import Output, Prompt
from gateway.vision.encoder import Visual
from tests.engine.toy import ToyDevice, engine, picture, prompt, request, run

PICTURES = {color: picture(color) for color in ("red", "green", "blue")}
OPENINGS = ("system: be kind. ", "system: be brief. ", "")
Parts = tuple[str, ...]  # words, and names of pictures


def asked(parts: Parts) -> Prompt:
    return prompt(*(seen(part) for part in parts))


def seen(part: str) -> str | Visual:
    return PICTURES.get(part, part)


@cache
def alone(parts: Parts) -> list[int]:
    return run(engine(ToyDevice()), request("alone", asked(parts)))["alone"]


class Crowd:
    """Conversations that go on, fork, are given up, and come again; with the same seed, always the same."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.device = ToyDevice(max_caches=self.random.randint(1, 6))
        budget = self.random.choice([0, 400, 1 << 20])
        self.engine: Engine = engine(self.device, self.random.randint(1, 6), budget)
        self.history: list[Parts] = [(opening,) for opening in OPENINGS]
        self.running: dict[str, tuple[Parts, list[int]]] = {}
        self.num_right = 0

    def act(self, number: int) -> None:
        match self.random.choices(["submit", "cancel", "step"], [1, 0.25, 12])[0]:
            case "submit":
                self.submit(str(number))
            case "cancel" if self.running:
                id = self.random.choice(list(self.running))
                self.engine.cancel(id)
                del self.running[id]
            case _:
                self.step()

    def submit(self, id: str) -> None:
        parts = (
            *self.random.choice(self.history[-12:]),
            self.random.choice(["and ", "red", "blue", "why? "]),
        )
        if asked(parts).num_tokens > 55:
            parts = (self.random.choice(OPENINGS), self.random.choice(["hi", "green", "red"]), id)
        name = self.random.choice([None, "a", "b"])
        task = self.random.random() < 0.15
        self.engine.submit(request(id, asked(parts), name=name, owner=self.random.choice("xy"), task=task))
        self.running[id] = parts, []

    def step(self) -> None:
        for result in self.engine.step():
            assert isinstance(result, Output)
            parts, said = self.running[result.request_id]
            if result.token_id is not None:
                said.append(result.token_id)
            if result.finish_reason:
                del self.running[result.request_id]
                assert said == alone(parts), (parts, said)
                self.num_right += 1
                self.history.append((*parts, "".join(map(chr, said))))
        sessions = list(self.engine._sessions)
        assert all(len(s.keys) == s.cache.length for s in sessions if s.cache)
        assert self.device.num_caches == sum(s.cache is not None for s in sessions) <= self.device.max_caches


@pytest.mark.parametrize("seed", range(40))
def test_everybody_is_told_what_they_would_be_told_alone(seed: int) -> None:
    crowd = Crowd(seed)
    for number in range(600):
        crowd.act(number)
    for _ in range(5000):
        if crowd.engine.idle:
            break
        crowd.step()
    assert (crowd.engine.idle, crowd.running) == (True, {})
    assert crowd.num_right > 10
    crowd.engine._sessions.clear()
    assert crowd.device.num_caches == 0
