"""Log probabilities as people read them: tokens as text and bytes."""

from collections import deque
from dataclasses import dataclass

from gateway.chat.tokenizer import Tokenizer
from gateway.engine.prompt import Logprobs


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """`text` is for people, `bytes` what the token adds to the reply: None for a special token, which is not
    shown there."""

    text: str
    bytes: bytes | None
    logprob: float


@dataclass(frozen=True, slots=True)
class ShownLogprobs:
    """One token of a reply, and the likeliest in its place, best first."""

    chosen: TokenLogprob
    top: tuple[TokenLogprob, ...]


class LogprobReader:
    """Turns what the engine says of each token into what is shown of it, and keeps it until the text of the
    token is shown: a token whose text a stop string takes away is never told of."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._waiting: deque[tuple[int, ShownLogprobs]] = deque()

    def push(self, token_id: int, logprobs: Logprobs, start: int) -> None:
        """`start` is the number of characters of the reply before this token."""
        top = tuple(self._token(id, logprob) for id, logprob in logprobs.top)
        self._waiting.append((start, ShownLogprobs(self._token(token_id, logprobs.chosen), top)))

    def release(self, num_shown: int) -> tuple[ShownLogprobs, ...]:
        """Those of the tokens that begin within the first `num_shown` characters, each once."""
        released = []
        while self._waiting and self._waiting[0][0] < num_shown:
            released.append(self._waiting.popleft()[1])
        return tuple(released)

    def release_all(self) -> tuple[ShownLogprobs, ...]:
        """What is left at the end, such as a special token's that no text follows."""
        released = tuple(shown for _, shown in self._waiting)
        self._waiting.clear()
        return released

    def _token(self, token_id: int, logprob: float) -> TokenLogprob:
        tokenizer = self._tokenizer
        return TokenLogprob(tokenizer.token_text(token_id), tokenizer.token_bytes(token_id), logprob)
