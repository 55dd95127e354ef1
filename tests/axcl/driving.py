"""A decoder, driven as the engine does it, on a prompt of made-up ids."""

from collections.abc import Sequence

import numpy as np

from backends.axcl.backend import AxclBackend
from backends.axcl.decoder import AxclDecoder
from backends.axcl.kvcache import AxclKVCache
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package
from backends.base import Chunk, Hidden

IDS = np.arange(200) * 37 % 500 + 7


def chunk(decoder: AxclDecoder, start: int, stop: int) -> Chunk:
    positions = np.tile(np.arange(start, stop, dtype=np.uint32), (3, 1))
    return Chunk(decoder.embed(IDS[start:stop]), positions, np.zeros(0, np.int64), ())


def prefilled(decoder: AxclDecoder, num_tokens: int, sizes: Sequence[int] = ()) -> tuple[AxclKVCache, Hidden]:
    """A cache with the first ids of IDS, in chunks of these sizes, then of the decoder's choice."""
    cache = decoder.new_cache()
    return cache, extended(decoder, cache, num_tokens, sizes)


def extended(decoder: AxclDecoder, cache: AxclKVCache, num_tokens: int, sizes: Sequence[int] = ()) -> Hidden:
    wanted = list(sizes)
    hidden = Hidden(0)
    while cache.length < num_tokens:
        size = wanted.pop(0) if wanted else decoder.chunk_size(cache.length, num_tokens - cache.length)
        hidden = decoder.prefill(cache, chunk(decoder, cache.length, cache.length + size))
    return hidden


def greedy(decoder: AxclDecoder, cache: AxclKVCache, hidden: Hidden, num_tokens: int = 12) -> list[int]:
    tokens: list[int] = []
    while True:
        tokens.append(int(decoder.logits(hidden).argmax()))
        if len(tokens) == num_tokens:
            return tokens
        hidden = decoder.decode(cache, tokens[-1], cache.length)


def answer(
    backend: AxclBackend, package: Package, kv_write: KvWrite = KvWrite.DIRECT, num_tokens: int = 12
) -> list[int]:
    decoder = backend.decoder(package, kv_write)
    return greedy(decoder, *prefilled(decoder, 21), num_tokens)
