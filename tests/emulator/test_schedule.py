"""What the scheduler promises, in the time that a card with InternVL3-1B is recorded to take."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from backends.axcl.backend import AxclBackend
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package
from backends.emulator import Emulator, Recorded, RecordedClock
from bench.schedule import write_schedule
from gateway.engine.engine import Engine
from gateway.engine.prompt import Identity, Output, Prompt, Request, SamplingParams
from gateway.engine.session import SessionStore
from gateway.vision.cache import FeatureCache
from gateway.vision.positions import text_positions

RECORDED = Recorded.load("internvl3-1b")
SHORT, LONG = 20, 1100  # tokens of a prompt: one chunk, and nine


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_schedule(RECORDED, tmp_path_factory.mktemp("schedule") / RECORDED.name)


class Card:
    """An engine on a card of its own, and the time on it."""

    def __init__(self, package: Package) -> None:
        self._clock = RecordedClock(RECORDED)
        decoder = AxclBackend(Emulator(clock=self._clock)).decoder(package, KvWrite.DIRECT)
        self.engine = Engine(decoder, None, SessionStore(decoder, 3, 0), FeatureCache(0))
        self._began_ms = self._clock.elapsed_ms

    def ask(self, name: str, num_tokens: int, max_tokens: int) -> None:
        ids = np.full(num_tokens, ord(name), np.int64)  # nobody shares a prefix
        prompt = Prompt(ids, text_positions(num_tokens), ())
        sampling = SamplingParams(max_tokens, temperature=0)
        self.engine.submit(Request(name, prompt, sampling, Identity(owner=name)))

    def outputs(self) -> Iterator[tuple[str, float]]:
        """Who is given a token, and when, in ms since the card was ready."""
        while not self.engine.idle:
            for output in self.engine.step():
                assert isinstance(output, Output)
                yield output.request_id, self._clock.elapsed_ms - self._began_ms


def chunk_ms(history: int) -> float:
    up = 2 * 128 * 896 + 4 * 128 + 2 * 128 * (history + 128)  # embeds, positions, mask
    link = RECORDED.link
    return link.round_trip_ms + link.up_ms(up) + 24 * (link.round_trip_ms + RECORDED.prefill_ms[history])


def head_ms() -> float:
    link = RECORDED.link
    return 2 * link.round_trip_ms + RECORDED.head_ms + link.down_ms(2 * RECORDED.vocab_size)


def token_ms() -> float:
    up, link = 2 * 896 + 128 + 2 * 2048, RECORDED.link
    layers_ms = 24 * (link.round_trip_ms + RECORDED.decode_ms)
    return link.round_trip_ms + link.up_ms(up) + layers_ms + head_ms()


def test_two_answers_take_as_long_together_as_one_after_the_other(package: Package) -> None:
    """Switching between conversations costs nothing."""
    card = Card(package)
    card.ask("a", SHORT, 30)
    card.ask("b", SHORT, 30)
    *_, (_, done_ms) = card.outputs()
    new_caches_ms = 2 * 2 * RECORDED.link.round_trip_ms  # malloc and memset
    assert done_ms == pytest.approx(new_caches_ms + 2 * (chunk_ms(0) + head_ms() + 29 * token_ms()))


def test_a_long_prompt_keeps_nobody_waiting_for_more_than_one_chunk(package: Package) -> None:
    card, times = Card(package), defaultdict[str, list[float]](list)
    card.ask("a", SHORT, 30)
    card.ask("b", SHORT, 30)
    for name, at_ms in card.outputs():
        times[name].append(at_ms)
        if name == "a" and len(times["a"]) == 5:
            card.ask("c", LONG, 1)
            asked_ms = at_ms
    longest_ms = max(after - before for name in "ab" for before, after in pairwise(times[name]))
    assert longest_ms == pytest.approx(chunk_ms(1024) + head_ms() + 2 * token_ms())
    prompt_ms = sum(chunk_ms(history) for history in range(0, 1025, 128)) + head_ms()
    assert times["c"][0] - asked_ms <= prompt_ms + 9 * 2 * token_ms() + 2 * RECORDED.link.round_trip_ms
