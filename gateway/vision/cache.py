"""Features that were encoded before: the same picture comes again in every turn of a conversation."""

from collections import OrderedDict

from gateway.vision.encoder import Features


class FeatureCache:
    """Digest of the pixels -> Features; the least recently used go first once `max_bytes` is passed."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._features: OrderedDict[bytes, Features] = OrderedDict()
        self.num_bytes = 0
        self.num_hits = 0
        self.num_misses = 0

    def get(self, digest: bytes) -> Features | None:
        features = self._features.get(digest)
        if features is None:
            self.num_misses += 1
            return None
        self._features.move_to_end(digest)
        self.num_hits += 1
        return features

    def put(self, digest: bytes, features: Features) -> None:
        """Features larger than the whole cache are not kept."""
        if features.nbytes > self._max_bytes:
            return
        if (known := self._features.pop(digest, None)) is not None:
            self.num_bytes -= known.nbytes
        self._features[digest] = features
        self.num_bytes += features.nbytes
        while self.num_bytes > self._max_bytes:
            _, oldest = self._features.popitem(last=False)
            self.num_bytes -= oldest.nbytes
