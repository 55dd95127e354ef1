"""The short way to the end of a grammar, for replies whose tokens run out: JSON that is cut off is none."""

import numpy as np
from llguidance import LLMatcher, LLTokenizer

CLOSERS = ("}", "]", '"', "0", "t", "f", "n")
"""What ends an object or a list, ends a text or begins one, or is a short value, as it is preferred."""

MAX_STEPS = 512
"""A reply that needs more to be ended is not steered to its end."""


class Closing:
    """Knows no more of JSON than its letters, and so finds a short way but not always the shortest."""

    def __init__(self, tokenizer: LLTokenizer, vocab_size: int) -> None:
        self._num_known = min(tokenizer.vocab_size, vocab_size)
        self._letter, self._quote = self._tokens(tokenizer, "a"), self._tokens(tokenizer, '"')
        self._closers = [token_id for text in CLOSERS for token_id in self._tokens(tokenizer, text)]

    def path(self, matcher: LLMatcher, room: int) -> list[int] | None:
        """Tokens after which the reply may end; none where it may end already. None where `room` of them are
        too few, such as in the middle of a free text that only certain words end."""
        ahead, path = matcher.deep_copy(), list[int]()
        while not ahead.is_accepting():
            step = ahead.compute_ff_tokens() or [self._next(ahead)]
            path += step
            ahead.consume_tokens(step)
            if len(path) > min(room, MAX_STEPS) or ahead.is_error():
                return None
        return path

    def in_text(self, allowed: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> bool:
        """Whether letters may come: inside of a string, or where a reply is free."""
        return any(allowed[token_id] for token_id in self._letter)

    def _next(self, matcher: LLMatcher) -> int:
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        allowed = np.unpackbits(bits, count=self._num_known, bitorder="little").astype(bool)
        order = [*self._quote, *self._letter] if self.in_text(allowed) else self._closers
        return next((token_id for token_id in order if allowed[token_id]), int(allowed.argmax()))

    def _tokens(self, tokenizer: LLTokenizer, text: str) -> list[int]:
        """One, or none where the vocabulary has none that is just this."""
        token_ids = tokenizer.tokenize_str(text)
        return token_ids if len(token_ids) == 1 and token_ids[0] < self._num_known else []
