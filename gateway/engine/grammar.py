"""What replies must follow: which tokens may come next, and which must, by llguidance."""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from backends.base import Array
from gateway.engine.closing import Closing, leads_to_end
from gateway.errors import EngineFailure, InvalidRequest

# The library's own limits for the work of a step; its long form of errors has the parser's whole state.
LIMITS = LLParserLimits(verbose_errors=False)

log = logging.getLogger(__name__)


class Constraint:
    """Where one reply stands in its grammar.

    `pieces` is what is known of it at the beginning, parted where a token was, or will be, chosen: first what
    the grammar begins with, then each chosen token with what had to follow it. That are the tokens in
    `begun`, and those that have to come behind them. The reply has at most `room` tokens, and the last of
    them is never forced, so that there always is one to choose. A token behind which the rest is too short
    to end the reply, as far as `closing` knows, is not taken, because a reply that is cut off follows no
    grammar.
    """

    def __init__(
        self,
        tokenizer: LLTokenizer,
        closing: Closing,
        grammar: str,
        vocab_size: int,
        *,
        forcing: bool,
        begun: Sequence[int] = (),
        room: int,
    ) -> None:
        """Raises InvalidRequest for what is no grammar, EngineFailure where `begun` does not follow it."""
        self._tokenizer = tokenizer
        self._closing = closing
        self._vocab_size = vocab_size
        self._forcing = forcing
        self._num_left = self._search_at = room  # no way is looked for with more left than at `_search_at`
        self._ended = False
        try:
            self._matcher = LLMatcher(tokenizer, grammar, limits=LIMITS, log_level=0)
        except ValueError as reason:  # half a surrogate pair, which is no text
            raise InvalidRequest(f"The grammar of the reply cannot be used: {reason}") from reason
        if self._matcher.is_error():
            raise InvalidRequest(f"The grammar of the reply cannot be used: {self._error}")
        self.pieces = [self._forced()]
        self._way = self._found_way()
        if self._too_long:
            self._way = None
        num_known = len(self.pieces[0])
        while num_known < len(begun):
            self.pieces.append(self.accept(begun[num_known]))
            num_known += len(self.pieces[-1])
        if [token_id for piece in self.pieces for token_id in piece][: len(begun)] != list(begun):
            raise EngineFailure("What was said of the reply before does not follow its grammar.")
        # The first mask makes much of what the others need: up to a second's work, better done here.
        self._matcher.compute_bitmask()
        self._check()

    @property
    def over(self) -> bool:
        """Whether nothing can follow but the end."""
        return self._ended or self._matcher.is_stopped()

    def allowed(self, stop_token_ids: frozenset[int]) -> Array:
        """(vocab,) bool, the tokens that may come next: where the reply may end, those that end it, and
        nowhere else. None at all means that it is over. Raises EngineFailure where nothing may come."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        known = min(self._tokenizer.vocab_size, self._vocab_size)  # more rows than tokens are padding
        allowed = np.zeros(self._vocab_size, bool)
        allowed[:known] = np.unpackbits(bits, count=known, bitorder="little")
        may_end = self._matcher.is_accepting()
        if may_end:
            allowed[self._tokenizer.eos_token] = False
        allowed[[token_id for token_id in stop_token_ids if token_id < self._vocab_size]] = may_end
        if not allowed.any():
            if not may_end:
                raise EngineFailure("The grammar of the reply allows no token of this model.")
            self._ended = True
        return allowed

    def accept(self, token_id: int) -> list[int]:
        """The chosen token, and all that has to follow it. Where the reply could not be ended behind that, it
        is the first one on the way to the end instead, or nothing where that is here. Raises EngineFailure.
        """
        before, way = self._matcher.deep_copy(), self._way
        piece = self._go(token_id)
        self._way = self._way_on(way, piece)
        if way is not None and self._too_long and (way or not self._closing.in_text(before)):
            self._matcher, self._num_left = before, self._num_left + len(piece)
            if not way:
                self._ended = True
                return []
            piece = self._go(way[0])
            self._way = self._way_on(way, piece)
        if self._too_long:
            self._way = None
        if self._num_left == 0 and self._way == []:  # whole to the last token, unless it is a free text
            self._ended = not self._closing.in_text(self._matcher)
        return piece

    @property
    def _too_long(self) -> bool:
        return self._way is not None and len(self._way) > self._num_left

    def _go(self, token_id: int) -> list[int]:
        self._num_left -= 1
        self._matcher.consume_token(token_id)
        self._check()
        return [token_id, *self._forced()]

    def _way_on(self, way: list[int] | None, piece: Sequence[int]) -> list[int] | None:
        """The way to the end from here, behind a `piece`, before which it was `way`; None where none is
        known."""
        if way is None:
            return self._found_way() if self._num_left <= self._search_at else None
        # Nearly always it is one of the two, which costs next to nothing.
        known = next((each for each in (way[len(piece) :], way) if leads_to_end(self._matcher, each)), None)
        if known is not None and len(known) <= self._num_left:
            return known
        found = self._found_way()
        return known if found is None else found

    def _found_way(self) -> list[int] | None:
        self._search_at = self._num_left * 3 // 4
        return self._closing.way(self._matcher)

    def _forced(self) -> list[int]:
        if not self._forcing or self._matcher.is_stopped():
            return []
        token_ids = self._matcher.compute_ff_tokens()[: max(0, self._num_left - 1)]
        if token_ids and max(token_ids) >= self._vocab_size:  # a token that the model has not
            return []
        self._num_left -= len(token_ids)
        self._matcher.consume_tokens(token_ids)
        self._check()
        return token_ids

    def _check(self) -> None:
        if self._matcher.is_error():
            raise EngineFailure(f"The grammar of the reply cannot be followed any further: {self._error}")

    @property
    def _error(self) -> str:
        return self._matcher.get_error().partition("\n")[0]


class Grammars:
    """Makes constraints for the model with this tokenizer, beside the thread that it is asked on.

    The vocabulary is read here, at load: for 151,665 tokens it takes 0.8 to 1.3 s, in which the library lets
    no other thread run, and 170 MB. Later, it would be a gap in everybody's answer. A grammar may take as
    long, or longer if somebody means it; there, other threads run.
    """

    def __init__(self, tokenizer: Path, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._tokenizer: LLTokenizer | None = None
        self._thread = ThreadPoolExecutor(1, "grammars")
        try:
            self._tokenizer = read = _read(tokenizer / "tokenizer.json")
            self._closing = Closing(read, vocab_size)
        except (OSError, ValueError, LookupError, TypeError) as reason:
            log.warning("replies cannot be held to a grammar, because of the tokenizer: %s", reason)

    @property
    def usable(self) -> bool:
        """Whether the tokenizer is of a kind that replies can be held to grammars with."""
        return self._tokenizer is not None

    def begin(self, grammar: str, *, forcing: bool, begun: Sequence[int], room: int) -> "Future[Constraint]":
        """The result raises what Constraint does."""
        assert self._tokenizer is not None, "a grammar for a tokenizer that is of no use"
        return self._thread.submit(
            Constraint,
            self._tokenizer,
            self._closing,
            grammar,
            self._vocab_size,
            forcing=forcing,
            begun=begun,
            room=room,
        )

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _read(path: Path) -> LLTokenizer:
    text = path.read_text(encoding="utf-8")
    special = [token["id"] for token in json.loads(text)["added_tokens"] if token["special"]]
    # Which tokens end a reply, each request says; the library must have one that is no text. The first
    # special token is one that begins or ends a text, which no grammar names.
    return LLTokenizer(text, eos_token=min(special, default=None))
