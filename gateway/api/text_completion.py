"""The wire: a text completion, whole or a piece of one."""

from collections.abc import Sequence
from typing import Literal

from gateway.api.usage import WireUsage
from gateway.api.wire import Wire


class TextLogprobs(Wire):
    """`text_offset` is where in the choice's text each token begins, in characters; what is likeliest in its
    place has the token that was chosen beside it."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Wire):
    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None


class TextCompletion(Wire):
    """Chunks of a stream look the same."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: Sequence[TextChoice]
    usage: WireUsage | None = None
    system_fingerprint: str
