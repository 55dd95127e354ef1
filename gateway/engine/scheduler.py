"""Which piece of work comes next. Pure: no device, no thread, no clock.

A round gives every decoding generation one token, then one piece of somebody's prompt its turn (in order of
arrival), and starts again; so a gap between two tokens is bounded by one token of everybody else plus one
piece. Background generations (titles, tags) run only while there is no other, or when they are told to.
"""

from collections import deque
from collections.abc import Callable

from gateway.engine.generation import Decode, Encode, Generation, Prefill, Work

ChunkSize = Callable[[int, int], int]
PROMPTS = None  # the place in a round that belongs to prompts


class Scheduler:
    """The generations that have a session, and whose turn it is. `chunk_size` is the decoder's."""

    def __init__(self, chunk_size: ChunkSize) -> None:
        self._chunk_size = chunk_size
        self._generations: list[Generation] = []
        self._round: deque[Generation | None] = deque()

    def add(self, generation: Generation) -> None:
        self._generations.append(generation)

    def remove(self, generation: Generation) -> None:
        self._generations.remove(generation)
        if generation in self._round:
            self._round.remove(generation)

    def next(self, *, background: bool = False) -> Work | None:
        """One piece of work, or None when there is none. `background` lets all take part."""
        current = self._generations if background else self._current()
        for _ in ("the rest of this round", "a new one"):
            while self._round:
                turn = self._round.popleft()
                if turn is PROMPTS:
                    if piece := self._piece(current):
                        return piece
                elif turn in current:
                    return Decode(turn)
            self._round.extend(generation for generation in current if generation.decoding)
            self._round.append(PROMPTS)
        return None

    def _current(self) -> list[Generation]:
        foreground = [generation for generation in self._generations if not generation.background]
        return foreground or self._generations

    def _piece(self, current: list[Generation]) -> Encode | Prefill | None:
        for generation in current:
            if not generation.decoding:
                num_tokens = self._chunk_size(generation.num_computed, generation.num_remaining)
                image = generation.missing(num_tokens)
                return Encode(generation, image) if image else Prefill(generation, num_tokens)
        return None
