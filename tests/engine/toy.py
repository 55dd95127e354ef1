"""A device whose every answer depends on every row: the next token is a hash of all embeds and positions in
the cache, so one wrong, missing or foreign row changes all that follows."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from backends.base import Array, Chunk, DecoderInfo, DeviceMemoryError, Hidden, KVCache
from gateway.engine.engine import Engine
from gateway.engine.prompt import (
    Identity,
    Output,
    Prompt,
    PromptImage,
    Request,
    SamplingParams,
)
from gateway.engine.session import SessionStore
from gateway.vision.cache import FeatureCache
from gateway.vision.encoder import Features, Pixels, Visual
from gateway.vision.layout import Layout, Span, Tile
from gateway.vision.positions import text_positions

VOCAB, HIDDEN, CHUNK, CONTEXT = 97, 4, 4, 64
ROW_BYTES = 16


class ToyCache:
    def __init__(self, device: "ToyDevice") -> None:
        device.take()
        self._device = device
        self.rows: list[bytes] = []

    @property
    def length(self) -> int:
        return len(self.rows)

    def truncate(self, length: int) -> None:
        assert 0 <= length <= len(self.rows)
        del self.rows[length:]

    def save(self) -> Array:
        self._device.num_saves += 1
        return np.frombuffer(b"".join(self.rows), np.uint8).reshape(1, -1)

    def load(self, rows: Array) -> None:
        data = rows.tobytes()
        self.rows = [data[i : i + ROW_BYTES] for i in range(0, len(data), ROW_BYTES)]

    def fork(self, length: int) -> "ToyCache":
        twin = ToyCache(self._device)
        twin.rows = self.rows[:length]
        self._device.num_forks += 1
        return twin

    def free(self) -> None:
        self._device.num_caches -= 1


@dataclass
class ToyDevice:
    """Decoder with room for `max_caches`; counts its calls."""

    max_caches: int = 100
    num_caches: int = 0
    num_forks: int = 0
    num_saves: int = 0
    num_refused: int = 0
    prefills: list[int] = field(default_factory=list)
    num_decodes: int = 0

    info = DecoderInfo(1, VOCAB, HIDDEN, 4, CONTEXT, CHUNK, CONTEXT, 3, 1024, ROW_BYTES)

    def take(self) -> None:
        if self.num_caches >= self.max_caches:
            self.num_refused += 1
            raise DeviceMemoryError("malloc", 0x8030050C, "out of toy memory")
        self.num_caches += 1

    def new_cache(self) -> ToyCache:
        return ToyCache(self)

    def embed(self, token_ids: Array) -> Array:
        return np.repeat(np.asarray(token_ids)[:, None], HIDDEN, axis=1).astype("bfloat16")

    def chunk_size(self, length: int, num_remaining: int) -> int:
        return min(CHUNK, num_remaining)

    def prefill(self, cache: KVCache, chunk: Chunk) -> Hidden:
        self.prefills.append(chunk.num_tokens)
        return self._append(cache, chunk)

    def decode(self, cache: KVCache, token_id: int, position: int) -> Hidden:
        self.num_decodes += 1
        rows = np.zeros(0, np.int64)
        return self._append(
            cache, Chunk(self.embed(np.array([token_id])), np.full((3, 1), position, np.uint32), rows, ())
        )

    def logits(self, hidden: Hidden) -> Array:
        logits = np.zeros(VOCAB, np.float32)
        logits[hidden % VOCAB] = 1
        return logits

    def _append(self, cache: KVCache, chunk: Chunk) -> Hidden:
        assert isinstance(cache, ToyCache)
        extra = np.zeros((chunk.num_tokens, HIDDEN), np.float32)
        for level in chunk.deepstack:
            extra[chunk.visual_rows] += level
        for row in range(chunk.num_tokens):
            data = chunk.embeds[row].tobytes() + chunk.positions[:, row].tobytes() + extra[row].tobytes()
            cache.rows.append(hashlib.blake2b(data, digest_size=ROW_BYTES).digest())
        return Hidden(int.from_bytes(hashlib.blake2b(b"".join(cache.rows), digest_size=6).digest(), "big"))


def encode(pixels: Pixels) -> Features:
    num_tokens = pixels.data.shape[0] * pixels.data.shape[1]
    embeds = np.resize(np.frombuffer(pixels.digest, np.uint8), (num_tokens, HIDDEN)).astype(np.float32)
    return Features(embeds, (embeds * 2,))


def engine(device: ToyDevice, max_sessions: int = 8, max_saved_bytes: int = 1 << 20) -> Engine:
    return Engine(device, encode, SessionStore(device, max_sessions, max_saved_bytes), FeatureCache(1 << 20))


def picture(color: str, *tiles: Tile) -> Visual:
    """One of 2 by 2 tokens, or of those tiles, all made of the same pixels."""
    data = np.asarray(Image.new("RGB", (2, 2), color))
    pixels = Pixels(data, hashlib.blake2b(data.tobytes(), digest_size=16).digest())
    layout = Layout("", tiles or (Tile((2, 2)),))
    return Visual(layout, (pixels,) * len(layout.tiles))


def prompt(*parts: str | Visual) -> Prompt:
    """Words become token ids, one per letter; pictures become spans of placeholders."""
    ids: list[int] = []
    images = []
    for part in parts:
        if isinstance(part, str):
            ids += [ord(letter) % VOCAB for letter in part]
        else:
            for tile, pixels in zip(part.layout.tiles, part.pixels, strict=True):
                images.append(PromptImage(Span(len(ids), tile), pixels))
                ids += [0] * tile.num_tokens
    return Prompt(np.array(ids, np.int64), text_positions(len(ids)), tuple(images))


def request(
    id: str,
    asked: Prompt,
    max_tokens: int = 6,
    name: str | None = None,
    owner: str = "",
    *,
    task: bool = False,
) -> Request:
    identity = Identity(owner, name, task)
    return Request(id, asked, SamplingParams(max_tokens, temperature=0), identity)


def run(engine: Engine, *requests: Request) -> dict[str, list[int]]:
    """Submit all, step until nothing is left to do, and gather what each one said."""
    said: dict[str, list[int]] = {one.id: [] for one in requests}
    for one in requests:
        engine.submit(one)
    while not engine.idle:
        for result in engine.step():
            assert isinstance(result, Output), result
            if result.token_id is not None:
                said[result.request_id].append(result.token_id)
    return said
