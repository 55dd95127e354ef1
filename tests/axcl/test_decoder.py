"""The decode loop on the emulated card: every way of driving it must give the same tokens."""

from collections.abc import Callable

import numpy as np
import pytest

from backends.axcl.handles import PAGE
from backends.axcl.kvcache import AxclKVCache
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package
from backends.base import Array, Chunk, DeviceMemoryError
from backends.emulator import Emulator
from tests.axcl.driving import answer, chunk, extended, greedy, prefilled
from tests.packages import CHUNK, CONTEXT, HISTORIES, free_bytes, opened, text_package, vision_package

PACKAGES = [vision_package, text_package]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_way_of_writing_kv_gives_the_same_tokens(package: Callable[[], Package]) -> None:
    with opened(Emulator()) as backend:
        direct = answer(backend, package(), KvWrite.DIRECT)
        assert (
            direct == answer(backend, package(), KvWrite.COPY) == answer(backend, package(), KvWrite.VENDOR)
        )
        assert len(set(direct)) > 3


@pytest.mark.parametrize("sizes", [[8, 8, 5], [1] * 21, [5, 8, 8], [7, 7, 7], [3, 1, 8, 1, 8]])
@pytest.mark.parametrize("package", PACKAGES)
def test_chunks_of_any_size_give_the_same_tokens(package: Callable[[], Package], sizes: list[int]) -> None:
    with opened(Emulator()) as backend:
        decoder = backend.decoder(package(), KvWrite.DIRECT)
        assert greedy(decoder, *prefilled(decoder, 21, sizes)) == answer(backend, package())


@pytest.mark.parametrize("kv_write", KvWrite)
def test_a_truncated_cache_goes_on_as_a_new_one(kv_write: KvWrite) -> None:
    with opened(Emulator()) as backend:
        decoder = backend.decoder(vision_package(), kv_write)
        cache, hidden = prefilled(decoder, 21)
        greedy(decoder, cache, hidden)
        cache.truncate(13)
        assert greedy(decoder, cache, extended(decoder, cache, 21)) == answer(
            backend, vision_package(), kv_write
        )


def test_a_forked_cache_and_its_original_go_their_own_ways() -> None:
    with opened(Emulator()) as backend:
        decoder = backend.decoder(vision_package(), KvWrite.DIRECT)
        cache, _ = prefilled(decoder, 18)
        twin = cache.fork(16)
        wrong = decoder.decode(twin, 3, 16)
        twin.truncate(16)
        assert wrong
        expected = answer(backend, vision_package())
        assert greedy(decoder, twin, extended(decoder, twin, 21)) == expected
        assert greedy(decoder, cache, extended(decoder, cache, 21)) == expected


def test_a_saved_and_loaded_cache_says_the_same() -> None:
    with opened(Emulator()) as backend:
        decoder = backend.decoder(vision_package(), KvWrite.DIRECT)
        cache, _ = prefilled(decoder, 16)
        rows = cache.save()
        cache.free()
        other = decoder.new_cache()
        other.load(rows)
        assert (other.length, rows.nbytes) == (16, 2 * 4 * 16 * 2 * decoder.info.kv_dim)
        assert greedy(decoder, other, extended(decoder, other, 21)) == answer(backend, vision_package())


def test_sessions_take_turns_without_a_copy() -> None:
    card = Emulator()
    with opened(card) as backend:
        decoder = backend.decoder(vision_package(), KvWrite.DIRECT)
        caches, tokens = [], []
        for length in (9, 21):
            cache, hidden = prefilled(decoder, length)
            caches.append(cache)
            tokens.append([int(decoder.logits(hidden).argmax())])
        before = card.counters.copy()
        for _ in range(11):
            for cache, said in zip(caches, tokens, strict=True):
                hidden = decoder.decode(cache, said[-1], cache.length)
                said.append(int(decoder.logits(hidden).argmax()))
        trips = (card.counters - before).round_trips
        # A token: one upload, four layers, the head, and one row of logits down.
        assert trips == {"memcpy_h2d": 22, "engine_execute": 22 * 5, "memcpy_d2h": 22}
        alone = prefilled(decoder, 9)
        assert tokens == [greedy(decoder, *alone), answer(backend, vision_package())]


@pytest.mark.parametrize(
    ("kv_write", "per_layer"), [(KvWrite.VENDOR, 6), (KvWrite.COPY, 3), (KvWrite.DIRECT, 1)]
)
def test_round_trips_per_layer_and_token(kv_write: KvWrite, per_layer: int) -> None:
    card = Emulator()
    with opened(card) as backend:
        decoder = backend.decoder(vision_package(), kv_write)
        cache, _ = prefilled(decoder, 9)
        before = card.counters.copy()
        decoder.decode(cache, 5, 9)
        assert (card.counters - before).round_trips.total() == 1 + 4 * per_layer


def test_the_smallest_group_that_fits_is_used() -> None:
    card = Emulator()
    with opened(card) as backend:
        decoder = backend.decoder(vision_package(), KvWrite.DIRECT)
        cache = decoder.new_cache()
        sizes = []
        for start in range(0, 32, CHUNK):
            before = card.counters.copy()
            decoder.prefill(cache, chunk(decoder, start, start + CHUNK))
            sizes.append((card.counters - before).num_bytes["memcpy_h2d"])
        # Embeds and indices are the same for each; the mask grows with the history a group can see.
        assert [size - sizes[0] for size in sizes] == [0, *(2 * CHUNK * history for history in HISTORIES)]


def test_beyond_the_last_prefill_group_tokens_go_one_by_one() -> None:
    with opened(Emulator()) as backend:
        decoder = backend.decoder(text_package(), KvWrite.DIRECT)
        assert [decoder.chunk_size(length, 50) for length in (0, 8, 20, 24, 25, 40)] == [8, 8, 4, 8, 1, 1]
        chunked = greedy(decoder, *prefilled(decoder, 50), 5)
        assert chunked == greedy(decoder, *prefilled(decoder, 50, [1] * 50), 5)


def test_within_its_reach_a_prompt_never_falls_back_to_single_tokens() -> None:
    with opened(Emulator()) as backend:
        decoder = backend.decoder(text_package(), KvWrite.DIRECT)
        for length in range(HISTORIES[-1] + 1):
            for stop in range(length + 1, HISTORIES[-1] + CHUNK + 1):
                place, sizes = length, []
                while place < stop:
                    assert place <= HISTORIES[-1], (length, stop)
                    sizes.append(decoder.chunk_size(place, stop - place))
                    place += sizes[-1]
                assert len(sizes) <= -(-(stop - length) // CHUNK) + 1


def test_the_whole_context_can_be_filled() -> None:
    with opened(Emulator()) as backend:
        decoder = backend.decoder(vision_package(), KvWrite.DIRECT)
        cache, _ = prefilled(decoder, CONTEXT)
        assert cache.length == CONTEXT == decoder.info.context_length
        with pytest.raises(ValueError, match="2 positions behind 63 rows: the limit is 24 rows"):
            decoder.prefill(cache, chunk(decoder, CONTEXT, CONTEXT + 2))


def features(num_rows: int, hidden: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(num_rows, hidden)).astype(np.float32)


@pytest.mark.parametrize("kv_write", KvWrite)
def test_deepstack_changes_visual_rows_of_its_layers_only(kv_write: KvWrite) -> None:
    with opened(Emulator()) as backend:
        decoder = backend.decoder(vision_package(), kv_write)
        plain = chunk(decoder, 0, 8)
        rows = np.array([2, 3, 5])
        deep = Chunk(plain.embeds, plain.positions, rows, (features(3, decoder.info.hidden_size, 1),) * 2)
        caches = [decoder.new_cache(), decoder.new_cache()]
        decoder.prefill(caches[0], plain)
        decoder.prefill(caches[1], deep)
        one, other = (cache.save().reshape(4, 2, 8, -1) for cache in caches)
        assert (one[0] == other[0]).all()  # before the first addition
        assert (one[1, :, :2] == other[1, :, :2]).all()  # rows before the pictures
        changed = [bool((one[1, 0, row] != other[1, 0, row]).any()) for row in range(8)]
        assert changed == [row in rows for row in range(8)]


def test_a_cache_that_does_not_fit_is_a_memory_error_and_nothing_leaks() -> None:
    with opened(Emulator(cmm_bytes=16 << 20)) as backend:
        start = free_bytes(backend)
        decoder = backend.decoder(vision_package(), KvWrite.DIRECT)
        loaded = free_bytes(backend)
        caches: list[AxclKVCache] = []
        with pytest.raises(DeviceMemoryError):
            caches.extend(iter(decoder.new_cache, None))
        assert free_bytes(backend) == loaded - len(caches) * decoder.info.cache_bytes
        assert free_bytes(backend) < 2 * decoder.info.cache_bytes
        for cache in caches:
            cache.free()
        assert free_bytes(backend) == loaded
        decoder.close()
        assert free_bytes(backend) == start


def test_a_model_that_does_not_fit_is_a_memory_error_and_nothing_leaks() -> None:
    with opened(Emulator(cmm_bytes=vision_package().graph_bytes // 2 & -PAGE)) as backend:
        start = free_bytes(backend)
        with pytest.raises(DeviceMemoryError):
            backend.decoder(vision_package(), KvWrite.DIRECT)
        assert free_bytes(backend) == start


BFLOAT16, WORDS = 14, 6  # AXCL_DATA_TYPE_*


def calling_bfloat16_words() -> Emulator:
    """A card that tells of bf16 tensors that they are plain 16-bit words."""
    card = Emulator()
    for side in ("input", "output"):
        name = f"engine_get_{side}_data_type"
        told = getattr(card.rt, name)

        def words(
            info: int, place: int, told: Callable[[int, int], tuple[int, int]] = told
        ) -> tuple[int, int]:
            dtype, ret = told(info, place)
            return WORDS if dtype == BFLOAT16 else dtype, ret

        setattr(card.rt, name, words)
    return card


def test_bfloat16_may_be_called_plain_words() -> None:
    package = text_package()
    with opened(Emulator()) as backend:
        expected = answer(backend, package)
        graph = backend.graph(package.post)
        hidden = backend.decoder(package, KvWrite.DIRECT).embed(np.arange(1)).reshape(graph.inputs[0].shape)
        (logits,) = graph.run({graph.inputs[0].name: hidden}).values()
    with opened(calling_bfloat16_words()) as backend:
        assert answer(backend, package) == expected
        graph = backend.graph(package.post)
        assert (graph.inputs[0].dtype, graph.outputs[0].dtype) == ("uint16", "uint16")
        (found,) = graph.run({graph.inputs[0].name: hidden.view(np.uint16)}).values()
        assert found.dtype == logits.dtype
        assert found.tobytes() == logits.tobytes()
