"""The wire: a chat completion in one piece, and the chunks of one that is streamed."""

from typing import Any, Literal

from gateway.api.wire import Wire
from gateway.chat.reply import FinishReason


class PromptTokensDetails(Wire):
    cached_tokens: int
    image_tokens: int


class CompletionTokensDetails(Wire):
    reasoning_tokens: int


class WireUsage(Wire):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class WireToken(Wire):
    token: str
    logprob: float
    bytes: list[int] | None


class WireLogprob(WireToken):
    top_logprobs: list[WireToken]


class WireLogprobs(Wire):
    content: list[WireLogprob]
    refusal: None = None


class Choice(Wire):
    """`message` has no keys for what there is none of, but content and refusal."""

    index: int
    message: dict[str, Any]
    logprobs: WireLogprobs | None
    finish_reason: FinishReason


class Completion(Wire):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: WireUsage
    system_fingerprint: str


class ChunkChoice(Wire):
    index: int
    delta: dict[str, Any]
    logprobs: WireLogprobs | None = None
    finish_reason: FinishReason | None = None


class Chunk(Wire):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: WireUsage | None = None
    system_fingerprint: str
