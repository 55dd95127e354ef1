"""Which way of writing K/V rows can be trusted on this card: run the same chunks and tokens every
way, compare bits with the vendor's way, and take the fastest that agrees."""

import logging
import time
from collections.abc import Iterable

import numpy as np

from backends.axcl import codes
from backends.axcl.decoder import NO_ROWS, AxclDecoder
from backends.axcl.layers import KvWrite, Trial
from backends.base import Chunk, DeviceError

log = logging.getLogger(__name__)


class SelfTestError(DeviceError):
    """The card answers, but what it computes cannot be trusted."""


def choose_kv_write(decoder: AxclDecoder, candidates: Iterable[KvWrite] = KvWrite) -> tuple[Trial, ...]:
    """Try the candidates, and leave the decoder set to the fastest one that agrees, and with the trials.

    Raises DeviceError where even the vendor's way fails or gives no numbers: then the card, or the model, is
    bad.
    """
    expected, ms = _run(decoder, KvWrite.VENDOR)
    trials = [Trial(KvWrite.VENDOR, True, ms)]
    for kv_write in candidates:
        if kv_write is KvWrite.VENDOR:
            continue
        try:
            found, ms = _run(decoder, kv_write)
        except DeviceError as reason:  # a card may refuse what is not aligned or overlaps
            log.warning(
                "self-test: the card refuses to write K/V rows the %s way: %s", kv_write.value, reason
            )
            trials.append(Trial(kv_write, False, None))
        else:
            trials.append(Trial(kv_write, found == expected, ms))
    # By construction, not by the clock: each way does strictly less than the one before it.
    decoder.kv_write = max((t.kv_write for t in trials if t.agrees), key=list(KvWrite).index)
    decoder.trials = tuple(trials)
    return decoder.trials


def _run(decoder: AxclDecoder, kv_write: KvWrite) -> tuple[bytes, float]:
    """Two chunks, the second behind a history that ends in mid-chunk and both padded, and two tokens: what
    came of them, and the milliseconds that it took."""
    decoder.kv_write = kv_write
    cache = decoder.new_cache()
    started = time.perf_counter()
    seen = []
    try:
        for _ in range(2):
            hidden = decoder.prefill(cache, _chunk(decoder, cache.length))
            seen.append(decoder.logits(hidden))
        for token_id in (7, 8):
            hidden = decoder.decode(cache, token_id, cache.length)
            seen.append(decoder.logits(hidden))
        if not all(np.isfinite(logits).all() for logits in seen):
            raise SelfTestError("self-test", codes.SUCCESS, "the model gives logits that are not finite")
        seen.append(cache.save())
        return b"".join(array.tobytes() for array in seen), 1000 * (time.perf_counter() - started)
    finally:
        cache.free()


def _chunk(decoder: AxclDecoder, length: int) -> Chunk:
    size = decoder.chunk_size(length, max(1, decoder.info.prefill_chunk - 3))
    places = np.arange(length, length + size)
    embeds = decoder.embed(places * 31 % decoder.info.vocab_size)
    return Chunk(embeds, np.tile(places.astype(np.uint32), (3, 1)), NO_ROWS, ())
