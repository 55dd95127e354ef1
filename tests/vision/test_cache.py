import numpy as np

from gateway.vision.cache import FeatureCache
from gateway.vision.encoder import Features

ROW_BYTES = 4 * 4


def features(num_tokens: int) -> Features:
    """Half of the bytes are deepstack's."""
    level = np.zeros((num_tokens, 2), dtype=np.float32)
    return Features(level, (level,))


def test_features_come_back_by_digest() -> None:
    cache, kept = FeatureCache(10 * ROW_BYTES), features(3)
    assert cache.get(b"a") is None
    cache.put(b"a", kept)
    assert cache.get(b"a") is kept
    assert cache.num_bytes == 3 * ROW_BYTES


def test_the_least_recently_used_goes_first() -> None:
    cache = FeatureCache(10 * ROW_BYTES)
    for digest in (b"a", b"b"):
        cache.put(digest, features(5))
    cache.get(b"a")
    cache.put(b"c", features(5))
    assert [cache.get(digest) is not None for digest in (b"a", b"b", b"c")] == [True, False, True]
    assert cache.num_bytes == 10 * ROW_BYTES


def test_deepstack_counts_against_the_limit() -> None:
    cache = FeatureCache(3 * ROW_BYTES - 1)
    cache.put(b"a", features(3))
    assert (cache.get(b"a"), cache.num_bytes) == (None, 0)


def test_features_put_twice_are_counted_once() -> None:
    cache = FeatureCache(10 * ROW_BYTES)
    cache.put(b"a", features(4))
    cache.put(b"a", features(6))
    assert cache.num_bytes == 6 * ROW_BYTES


def test_features_too_large_to_keep_push_nothing_out() -> None:
    cache = FeatureCache(10 * ROW_BYTES)
    cache.put(b"a", features(4))
    cache.put(b"b", features(11))
    assert [cache.get(digest) is not None for digest in (b"a", b"b")] == [True, False]
