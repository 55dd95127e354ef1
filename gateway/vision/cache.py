"""What was made of pictures before: clients send all of a conversation's again in every turn."""

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

from gateway.vision.encoder import Features


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Kept = TypeVar("Kept", bound=Sized)


class DigestCache(Generic[Kept]):
    """By digest of what it was made of; the least recently used go first once `max_bytes` is passed."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self.num_bytes = 0

    def get(self, digest: bytes) -> Kept | None:
        kept = self._kept.get(digest)
        if kept is not None:
            self._kept.move_to_end(digest)
        return kept

    def put(self, digest: bytes, new: Kept) -> None:
        """What is larger than the whole cache is not kept."""
        if new.nbytes > self._max_bytes:
            return
        if (known := self._kept.pop(digest, None)) is not None:
            self.num_bytes -= known.nbytes
        self._kept[digest] = new
        self.num_bytes += new.nbytes
        while self.num_bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.num_bytes -= oldest.nbytes


class FeatureCache(DigestCache[Features]):
    """By digest of the pixels."""
