"""What replies must follow: which tokens may come next, and which must, by llguidance."""

import json
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from backends.base import Array
from gateway.engine.closing import Closing
from gateway.errors import EngineFailure, InvalidRequest

# The library's own limits for the work of a step; its long form of errors has the parser's whole state.
LIMITS = LLParserLimits(verbose_errors=False)

SLACK = 8
"""By so much the way to the end may grow with one token, such as the first byte of a character."""

log = logging.getLogger(__name__)


class Constraint:
    """Where one reply stands in its grammar.

    `pieces` is what is known of it at the beginning, parted where a token was, or will be, chosen: first what
    the grammar begins with, then each chosen token with what had to follow it. That are the tokens in
    `begun`, and those that have to come behind them. The reply has at most `room` tokens, and the last of
    them is never forced, so that there always is one to choose. When there are just enough left to end it in
    the way that `closing` knows, no other is allowed, because a reply that is cut off follows no grammar.
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
        self._num_left = room
        self._look = room  # with more than so many left, there are enough
        self._ended = False
        try:
            self._matcher = LLMatcher(tokenizer, grammar, limits=LIMITS, log_level=0)
        except ValueError as reason:  # half a surrogate pair, which is no text
            raise InvalidRequest(f"The grammar of the reply cannot be used: {reason}") from reason
        if self._matcher.is_error():
            raise InvalidRequest(f"The grammar of the reply cannot be used: {self._error}")
        self._shortest = closing.path(self._matcher, room) or []
        self.pieces = [self._forced()]
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
        allowed[list(stop_token_ids)] = may_end
        if closing := self._close(allowed, stop_token_ids):
            allowed[:] = False
            allowed[closing] = True
        if not allowed.any():
            if not may_end:
                raise EngineFailure("The grammar of the reply allows no token of this model.")
            self._ended = True
        return allowed

    def accept(self, token_id: int) -> list[int]:
        """The chosen token, and all that has to follow it; raises EngineFailure."""
        self._num_left -= 1
        self._matcher.consume_token(token_id)
        self._check()
        return [token_id, *self._forced()]

    def _close(self, allowed: Array, stop_token_ids: frozenset[int]) -> list[int]:
        """The tokens that alone may come now, if the reply is to be whole in the end."""
        if self._matcher.is_accepting():
            # What else may come, if no letters of a text, is another piece as long as the first.
            another = self._num_left > len(self._shortest) + SLACK or self._closing.in_text(allowed)
            return [] if another else list(stop_token_ids)
        if self._num_left > self._look:
            return []
        path = self._closing.path(self._matcher, self._num_left)
        if path is None:
            self._look = 0
        elif len(path) + SLACK >= self._num_left:
            return path[:1]
        else:
            self._look = 2 * (len(path) + SLACK)
        return []

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
