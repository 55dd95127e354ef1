"""The wire: log probabilities, in the form of a chat completion."""

from collections.abc import Sequence

from gateway.api.wire import Wire
from gateway.chat.logprobs import ShownLogprobs, TokenLogprob

LEAST_LOGPROB = -9999.0
"""OpenAI's way to say "impossible", for JSON has no infinity."""


def finite(token: TokenLogprob) -> float:
    return max(token.logprob, LEAST_LOGPROB)


class WireToken(Wire):
    token: str
    logprob: float
    bytes: list[int] | None


class WireLogprob(WireToken):
    top_logprobs: list[WireToken]


class WireLogprobs(Wire):
    content: list[WireLogprob]
    refusal: None = None

    @classmethod
    def of(cls, shown: Sequence[ShownLogprobs]) -> "WireLogprobs":
        return cls(content=[_logprob(one) for one in shown])


def _logprob(shown: ShownLogprobs) -> WireLogprob:
    chosen, top = _token(shown.chosen), [_token(token) for token in shown.top]
    return WireLogprob(token=chosen.token, logprob=chosen.logprob, bytes=chosen.bytes, top_logprobs=top)


def _token(token: TokenLogprob) -> WireToken:
    data = None if token.bytes is None else list(token.bytes)
    return WireToken(token=token.text, logprob=finite(token), bytes=data)
