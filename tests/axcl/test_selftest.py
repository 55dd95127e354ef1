import pytest

from backends.axcl.decoder import AxclDecoder
from backends.axcl.layers import KvWrite
from backends.axcl.selftest import choose_kv_write
from backends.emulator import Emulator
from tests.packages import free_bytes, opened, vision_package


def test_the_fastest_way_that_agrees_is_chosen() -> None:
    with opened(Emulator()) as backend:
        decoder = backend.decoder(vision_package(), KvWrite.VENDOR)
        before = free_bytes(backend)
        trials = choose_kv_write(decoder)
        assert [(trial.kv_write, trial.agrees) for trial in trials] == [(way, True) for way in KvWrite]
        assert (decoder.kv_write, free_bytes(backend)) == (KvWrite.DIRECT, before)


def test_a_way_that_differs_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card on which writing rows in place goes wrong: the last bit of what it writes is lost."""
    with opened(Emulator()) as backend:
        decoder = backend.decoder(vision_package(), KvWrite.VENDOR)
        run = AxclDecoder.prefill

        def faulty(self: AxclDecoder, cache, chunk):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            hidden = run(self, cache, chunk)
            if self.kv_write is KvWrite.DIRECT:
                rows = cache.save()
                rows[0, 0] ^= 1
                cache.load(rows)
            return hidden

        monkeypatch.setattr(AxclDecoder, "prefill", faulty)
        trials = choose_kv_write(decoder)
        assert [trial.agrees for trial in trials] == [True, True, False]
        assert decoder.kv_write is KvWrite.COPY
