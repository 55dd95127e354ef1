"""The short way to the end of a grammar, for replies whose tokens run out: JSON that is cut off is none."""

from collections.abc import Sequence

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from backends.base import Array

CLOSERS = ("}", "]", ",", '"', "0", "t", "f", "n")
"""What ends an object, a list or a number, ends a text or begins one, or is a short value: the first that may
come."""

MAX_CHOICES = 256
"""A reply in which more is to be chosen on the way to its end is not steered there."""


class Closing:
    """Knows no more of JSON than its letters, and so finds a short way but not always the shortest."""

    def __init__(self, tokenizer: LLTokenizer, vocab_size: int) -> None:
        self._num_known = min(tokenizer.vocab_size, vocab_size)
        self._letter, self._quote = self._tokens(tokenizer, "a"), self._tokens(tokenizer, '"')
        self._closers = [token_id for text in CLOSERS for token_id in self._tokens(tokenizer, text)]

    def way(self, matcher: LLMatcher) -> list[int] | None:
        """Tokens after which the reply may end; none where it may end already. None where too much is to be
        chosen on the way, and in the middle of a free text that only certain words end."""
        ahead, way = matcher.deep_copy(), list[int]()
        for _ in range(MAX_CHOICES):
            if ahead.is_accepting():
                return way
            step = ahead.compute_ff_tokens() or self._next(ahead)
            way += step
            ahead.consume_tokens(step)
            if not step or ahead.is_error():
                break
        return None

    def in_text(self, matcher: LLMatcher) -> bool:
        """Whether letters may come: inside of a string, or where a reply is free."""
        return self._is_text(self._allowed(matcher))

    def _next(self, matcher: LLMatcher) -> list[int]:
        """One token, or none where there is nothing that leads on."""
        allowed = self._allowed(matcher)
        if not self._is_text(allowed):
            return self._first(self._closers, allowed) or [int(allowed.argmax())]
        if quote := self._first(self._quote, allowed):
            behind = matcher.deep_copy()
            behind.consume_tokens(quote)
            return [] if self.in_text(behind) else quote  # a text in which a quote is a letter like others
        return self._first(self._letter, allowed)

    def _allowed(self, matcher: LLMatcher) -> Array:
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        return np.unpackbits(bits, count=self._num_known, bitorder="little").astype(bool)

    def _is_text(self, allowed: Array) -> bool:
        return bool(self._first(self._letter, allowed))

    def _first(self, token_ids: Sequence[int], allowed: Array) -> list[int]:
        return next(([token_id] for token_id in token_ids if allowed[token_id]), [])

    def _tokens(self, tokenizer: LLTokenizer, text: str) -> list[int]:
        """One, or none where the vocabulary has none that is just this."""
        token_ids = tokenizer.tokenize_str(text)
        return token_ids if len(token_ids) == 1 and token_ids[0] < self._num_known else []


def leads_to_end(matcher: LLMatcher, token_ids: Sequence[int]) -> bool:
    """Whether the reply may go on with these, and end behind them."""
    ahead = matcher.deep_copy()
    return ahead.try_consume_tokens(list(token_ids)) == len(token_ids) and bool(ahead.is_accepting())
