"""A tiny model with random weights on the emulated card, whose replies must follow a grammar."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from llguidance import LLMatcher

from backends.axcl.decoder import AxclDecoder
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package
from backends.base import Array, Chunk, Hidden, KVCache
from backends.emulator import Emulator
from gateway.engine.engine import Engine, Failed
from gateway.engine.grammar import Grammars
from gateway.engine.prompt import Output, Prompt, Request, SamplingParams
from gateway.engine.session import SessionStore
from gateway.vision.cache import FeatureCache
from gateway.vision.positions import text_positions
from tests.export.checkpoints import tiny_text
from tests.packages import DEMO_CHECKPOINT, OPTIONS, VOCAB, exported, new_folder, opened

ROWS, CHUNK = 255, 16
STOPS = frozenset({0, 2})
TOKENIZER = tokenizers.Tokenizer.from_file(str(DEMO_CHECKPOINT / "tokenizer.json"))

COLOURS = ["red", "green", "dark blue"]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "colour of it": {"enum": COLOURS},
        "size": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "colour of it", "size", "tags"],
    "additionalProperties": False,
}
CALL = '<call>{"name": "get_the_weather", "arguments": {"place": "'


def schema(value: dict[str, Any], *, blanks: bool = False) -> str:
    return LLMatcher.grammar_from_json_schema(value, overrides={"whitespace_flexible": blanks})


def regex(text: str) -> str:
    return LLMatcher.grammar_from_regex(text)


def call(place: str = "[a-z]{1,9}") -> str:
    """A reply that begins with much that is dictated."""
    begin, end = json.dumps(CALL), json.dumps('"}}')
    return LLMatcher.grammar_from_lark(f"start: {begin} PLACE {end}\nPLACE: /{place}/")


def fits(value: Any) -> bool:
    """Whether it is what SCHEMA says."""
    match value:
        case {"name": str(name), "colour of it": str(colour), "size": int(size), "tags": [*tags]}:
            right = len(value) == 4 and len(name) <= 8 and 0 <= size <= 99 and len(tags) <= 3
            return right and colour in COLOURS and all(isinstance(tag, bool) for tag in tags)
    return False


@cache
def package() -> Package:
    """Its graphs have more rows than its tokenizer has tokens."""
    checkpoint = tiny_text(new_folder() / "checkpoint", vocab_size=VOCAB, tied=False)
    histories = tuple(range(CHUNK, 128, CHUNK))
    return exported(checkpoint, replace(OPTIONS, kv_cache_len=ROWS, prefill_len=CHUNK, histories=histories))


@cache
def grammars(folder: Path = DEMO_CHECKPOINT) -> Grammars:
    return Grammars(folder, VOCAB)


@dataclass
class Card:
    """An engine on an emulated card. `runs` has the tokens of every run of the layers, and 0 for one of the
    head."""

    emulator: Emulator
    decoder: AxclDecoder
    engine: Engine
    runs: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        prefill, logits = self.decoder.prefill, self.decoder.logits

        def prefilled(cache: KVCache, chunk: Chunk) -> Hidden:
            self.runs.append(chunk.num_tokens)
            return prefill(cache, chunk)

        def computed(hidden: Hidden) -> Array:
            self.runs.append(0)
            return logits(hidden)

        vars(self.decoder).update(prefill=prefilled, logits=computed)

    def told(self, *requests: Request) -> dict[str, list[Output | Failed]]:
        told: dict[str, list[Output | Failed]] = {one.id: [] for one in requests}
        for one in requests:
            self.engine.submit(one)
        while not self.engine.idle:
            for result in self.engine.step():
                told[result.request_id].append(result)
        return told

    def outputs(self, asked: Request) -> list[Output]:
        told = [result for result in self.told(asked)[asked.id] if isinstance(result, Output)]
        first, numbers = len(asked.begun) + 1, [output.num_completion_tokens for output in told]
        if told[-1].token_id is None and numbers[-1:] == numbers[-2:-1]:
            numbers.pop()  # an end that took no token
        assert numbers == list(range(first, first + len(numbers)))
        return told


@contextmanager
def card(max_sessions: int = 4) -> Iterator[Card]:
    emulator = Emulator()
    with opened(emulator) as backend:
        decoder = backend.decoder(package(), KvWrite.DIRECT)
        sessions = SessionStore(decoder, max_sessions, 64 << 20)
        yield Card(emulator, decoder, Engine(decoder, None, sessions, FeatureCache(0), grammars()))


def asking(
    grammar: str | None, seed: int | None = 0, num_tokens: int = 20, max_tokens: int = 120, **params: Any
) -> Request:
    ids = np.random.default_rng(seed).integers(7, 681, num_tokens)
    sampling: dict[str, Any] = {"temperature": 1.0, "seed": seed, "stop_token_ids": STOPS} | params
    return Request(
        "a",
        Prompt(ids, text_positions(num_tokens), ()),
        SamplingParams(max_tokens, grammar=grammar, **sampling),
    )


def ids_of(outputs: list[Output]) -> list[int]:
    return [output.token_id for output in outputs if output.token_id is not None]


def text_of(outputs: list[Output]) -> str:
    return str(TOKENIZER.decode(ids_of(outputs), skip_special_tokens=False))
