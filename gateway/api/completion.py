"""The wire: a chat completion in one piece, and the chunks of one that is streamed."""

from typing import Literal

from gateway.api.protocol import Wire
from gateway.chat.reply import FinishReason


class PromptTokensDetails(Wire):
    cached_tokens: int


class WireUsage(Wire):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class WireToken(Wire):
    token: str
    logprob: float
    bytes: list[int] | None


class WireLogprob(WireToken):
    top_logprobs: list[WireToken]


class WireLogprobs(Wire):
    content: list[WireLogprob]
    refusal: None = None


class AnswerMessage(Wire):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(Wire):
    index: int = 0
    message: AnswerMessage
    logprobs: WireLogprobs | None = None
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
    index: int = 0
    delta: dict[Literal["role", "content"], str]
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
