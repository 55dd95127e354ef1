from collections.abc import Callable

import numpy as np
import pytest

from backends.axcl.decoder import AxclDecoder
from backends.axcl.kvcache import AxclKVCache
from backends.axcl.layers import KvWrite
from backends.axcl.selftest import choose_kv_write
from backends.base import Chunk, DeviceError, Hidden
from backends.emulator import Emulator
from tests.packages import CHUNK, free_bytes, opened, vision_package


def test_the_fastest_way_that_agrees_is_chosen() -> None:
    with opened(Emulator()) as backend:
        decoder = backend.decoder(vision_package(), KvWrite.VENDOR)
        before = free_bytes(backend)
        trials = choose_kv_write(decoder)
        assert [(trial.kv_write, trial.agrees) for trial in trials] == [(way, True) for way in KvWrite]
        assert (decoder.kv_write, free_bytes(backend)) == (KvWrite.DIRECT, before)


def prefill_going_wrong(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[[AxclDecoder, AxclKVCache], None]
) -> None:
    """A card on which something happens after each call of the decoder."""
    run = AxclDecoder.prefill

    def prefill(self: AxclDecoder, cache: AxclKVCache, chunk: Chunk) -> Hidden:
        hidden = run(self, cache, chunk)
        wrong(self, cache)
        return hidden

    monkeypatch.setattr(AxclDecoder, "prefill", prefill)


def trials(monkeypatch: pytest.MonkeyPatch, wrong: Callable[[AxclDecoder, AxclKVCache], None]) -> list[bool]:
    prefill_going_wrong(monkeypatch, wrong)
    with opened(Emulator()) as backend:
        decoder = backend.decoder(vision_package(), KvWrite.VENDOR)
        agreed = [trial.agrees for trial in choose_kv_write(decoder)]
        assert decoder.kv_write is list(KvWrite)[agreed.count(True) - 1]
    return agreed


def test_a_way_that_differs_in_a_single_bit_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(decoder: AxclDecoder, cache: AxclKVCache) -> None:
        if decoder.kv_write is KvWrite.DIRECT:
            rows = cache.save()
            rows[0, 0] ^= 1
            cache.load(rows)

    assert trials(monkeypatch, wrong) == [True, True, False]


def test_a_way_that_goes_wrong_behind_a_history_only_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(decoder: AxclDecoder, cache: AxclKVCache) -> None:
        if decoder.kv_write is KvWrite.DIRECT and CHUNK < cache.length < 2 * CHUNK - 5:
            rows = cache.save()
            rows[-1, -1] ^= 1
            cache.load(rows)

    assert trials(monkeypatch, wrong) == [True, True, False]


def test_a_way_that_the_card_refuses_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(decoder: AxclDecoder, cache: AxclKVCache) -> None:
        if decoder.kv_write is not KvWrite.VENDOR:
            raise DeviceError("engine_execute", 0x8030070C, "not aligned")

    assert trials(monkeypatch, wrong) == [True, False, False]


def test_a_model_that_gives_no_numbers_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AxclDecoder, "logits", lambda *_: np.full(8, np.nan, np.float32))
    with opened(Emulator()) as backend, pytest.raises(DeviceError, match="not finite"):
        backend.decoder(vision_package())
