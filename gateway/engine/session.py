"""Conversations and the KV caches they own.

A session is found by the client's own name for it and by the longest matching prefix: whoever repeats the
whole last prompt of a conversation continues it (half of it, with the right name), and whoever shares a part
gets a copy of that part. Caches beyond the device's room move to host memory, least recently used first, and
what does not fit there is forgotten.

Invariant: a session's keys describe the rows of its cache, one for one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from backends.base import Array, Decoder, DecoderInfo, DeviceMemoryError, KVCache
from gateway.engine.prompt import Identity, Prompt
from gateway.errors import Unavailable


@dataclass(eq=False)
class Session:
    """One conversation. Its rows are on the device (`cache`), on the host (`saved`), or nowhere yet."""

    owner: str
    name: str | None
    keys: list[int] = field(default_factory=list)
    num_prompt: int = 0  # keys that came from the client, in the last turn
    cache: KVCache | None = None
    saved: Array | None = None
    busy: bool = False
    used: int = 0

    @property
    def saved_bytes(self) -> int:
        return 0 if self.saved is None else int(self.saved.nbytes)

    def truncate(self, length: int) -> None:
        assert self.cache is not None
        self.cache.truncate(length)
        del self.keys[length:]

    def commit(self, keys: Sequence[int]) -> None:
        """Record rows that are on the device now."""
        self.keys.extend(keys)


@dataclass(frozen=True, slots=True)
class StoreStats:
    """num_resident caches on the device, num_saved on the host taking saved_bytes; evictions so far."""

    num_resident: int
    num_saved: int
    saved_bytes: int
    num_evictions: int


class SessionStore:
    """At most `max_resident` caches on the device and `max_saved_bytes` of rows on the host."""

    def __init__(self, decoder: Decoder, max_resident: int, max_saved_bytes: int) -> None:
        self._decoder = decoder
        self._max_resident = max_resident
        self._max_saved_bytes = max_saved_bytes
        self._row_bytes = decoder.info.cache_row_bytes
        self._sessions: list[Session] = []
        self._clock = 0
        self._num_evictions = 0

    def __iter__(self) -> Iterator[Session]:
        return iter(self._sessions)

    @property
    def stats(self) -> StoreStats:
        saved = [session.saved_bytes for session in self._sessions if session.saved is not None]
        resident = sum(session.cache is not None for session in self._sessions)
        return StoreStats(resident, len(saved), sum(saved), self._num_evictions)

    def acquire(self, identity: Identity, prompt: Prompt) -> Session | None:
        """A session whose cache holds as much of the prompt as could be found; it is the caller's until
        `release`.

        None while every cache is in use by others. Raises Unavailable when the device cannot hold even one.
        """
        if self._all_busy():
            return None
        info = self._decoder.info
        mine = [session for session in self._sessions if session.owner == identity.owner]
        matches = {id(session): common_prefix(session.keys, prompt.keys) for session in mine}
        source = max(mine, key=lambda session: matches[id(session)], default=None)
        longest = reusable(matches[id(source)], prompt, info) if source else 0
        session = self._same_conversation(identity, mine, matches)
        length = reusable(matches[id(session)], prompt, info) if session else 0
        # Of several replies to one prompt, all but the first find their conversation in use, and no other
        # that may pass for it holds as much of the prompt.
        if saves_a_chunk(longest - length, prompt.num_tokens - length, info.prefill_chunk):
            session = self._start(identity, source, longest)
        elif session is None:
            session = self._start(identity, None, 0)
        elif not self._resume(session, length):
            session = None
        if session is None:
            return None
        self._trim()
        session.busy = True
        session.num_prompt = prompt.num_tokens
        self._touch(session)
        return session

    def release(self, session: Session, *, keep: bool) -> None:
        """The generation is over. What is in the cache stays valid for the next turn, if it is to be kept."""
        session.busy = False
        self._touch(session)
        if not keep or not session.keys:
            self._forget(session)

    def clear(self) -> None:
        for session in list(self._sessions):
            self._forget(session)

    def _same_conversation(
        self, identity: Identity, mine: Iterable[Session], matches: dict[int, int]
    ) -> Session | None:
        if identity.ephemeral:
            return None
        # A name may stand for several conversations (an OpenAI client can give one key to all of its own), so
        # it only lowers the bar: half of the last prompt, as after an edit, instead of all of it. After a
        # cancelled prefill, the rows that there are count as the prompt.
        share = 1 if identity.name is None else 2
        continued = [
            session
            for session in mine
            if session.name == identity.name
            and not session.busy
            and share * matches[id(session)] >= min(session.num_prompt, len(session.keys))
        ]
        return max(continued, key=lambda session: matches[id(session)], default=None)

    def _all_busy(self) -> bool:
        """Whether looking for a session is in vain. Asked before every step while requests wait."""
        busy = [session.busy for session in self._sessions if session.cache is not None]
        return len(busy) >= self._max_resident and all(busy)

    def _start(self, identity: Identity, source: Session | None, length: int) -> Session | None:
        """A new session, beginning with a copy of `length` rows of another one."""
        cache = self._allocate(source, length)
        if cache is None:
            return None
        session = Session(identity.owner, identity.name, cache=cache)
        session.keys = source.keys[:length] if source else []
        self._sessions.append(session)
        return session

    def _resume(self, session: Session, length: int) -> bool:
        """Bring a session back to the device, cut to its first `length` rows."""
        if session.cache is None:
            session.cache = self._allocate(session, length)
            if session.cache is None:
                return False
            session.saved = None
            del session.keys[length:]
        else:
            session.truncate(length)
        return True

    def _allocate(self, source: Session | None, length: int) -> KVCache | None:
        """A cache with the first `length` rows of `source`; None while every other cache is in use."""
        while sum(session.cache is not None for session in self._sessions) >= self._max_resident:
            if not self._evict(source):
                return None
        while True:
            try:
                return self._copy(source, length)
            except DeviceMemoryError as reason:
                if self._evict(source):
                    continue
                num_resident = sum(session.cache is not None for session in self._sessions)
                if num_resident:
                    # Less room than promised. From now on nobody tries for more than there is.
                    self._max_resident = num_resident
                    return None
                needed = self._decoder.info.cache_bytes >> 20
                raise Unavailable(
                    f"The device has no memory for another session: its KV cache needs {needed} MiB.",
                    retry_after_s=10,
                ) from reason

    def _copy(self, source: Session | None, length: int) -> KVCache:
        if source is not None and source.cache is not None:
            return source.cache.fork(length)
        cache = self._decoder.new_cache()
        if source is not None and source.saved is not None:
            cache.load(source.saved[:, : length * self._row_bytes // len(source.saved)])
        return cache

    def _evict(self, spare: Session | None) -> bool:
        """Move the least recently used idle cache to the host, or forget it where there is no room for it;
        `spare`, which is about to be copied, comes last and stays."""
        idle = [session for session in self._sessions if session.cache is not None and not session.busy]
        if not idle:
            return False
        session = min(idle, key=lambda session: (session is spare, session.used))
        assert session.cache is not None
        if session is not spare and len(session.keys) * self._row_bytes > self._max_saved_bytes:
            self._forget(session)
        else:
            session.saved = session.cache.save()
            session.cache.free()
            session.cache = None
        self._num_evictions += 1
        self._trim(spare)
        return True

    def _trim(self, spare: Session | None = None) -> None:
        """Forget saved rows beyond the budget, least recently used first."""
        saved = [session for session in self._sessions if session.saved is not None]
        for session in sorted(saved, key=lambda session: session.used):
            if sum(one.saved_bytes for one in saved) <= self._max_saved_bytes:
                return
            if session is not spare:
                self._forget(session)
                saved.remove(session)

    def _forget(self, session: Session) -> None:
        if session.cache is not None:
            session.cache.free()
            session.cache = None
        self._sessions.remove(session)

    def _touch(self, session: Session) -> None:
        self._clock += 1
        session.used = self._clock


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many leading keys are equal."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length


def reusable(match: int, prompt: Prompt, info: DecoderInfo) -> int:
    """How many matching rows a prompt can build on.

    The last position is always run again, for its logits. And a picture still to come must be prefilled where
    decode cannot place it, which does not work behind more than `prefill_history` rows.
    """
    length = min(match, prompt.num_tokens - 1)
    if info.index_rows > info.decode_rows and any(image.span.stop > length for image in prompt.images):
        length = min(length, info.prefill_history)
    return length


def saves_a_chunk(length: int, num_tokens: int, chunk: int) -> bool:
    """Whether a copy of `length` rows spares any prefill call: chunks are padded, so a few rows spare
    nothing."""
    return -(-(num_tokens - length) // chunk) < -(-num_tokens // chunk)
