"""The wire: a chat completion in one piece, and the chunks of one that is streamed."""

from typing import Any, Literal

from gateway.api.logprobs import WireLogprobs
from gateway.api.usage import WireUsage
from gateway.api.wire import Wire
from gateway.chat.reply import FinishReason


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
