"""The wire: what a chat completions request and its answers look like in JSON.

Requests are validated strictly: "5" is no integer, nor is true. Null means absent where a key is optional.
Keys nobody knows are ignored, as every client expects of a local server; what OpenAI knows and this server
does not do yet is accepted only with a value that changes nothing (`only`).
"""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.engine.prompt import FinishReason
from gateway.errors import GatewayError


class Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {key: value for key, value in data.items() if value is not None or key not in optional}


# --- messages


class ImageUrl(Wire):
    url: str
    detail: Literal["low", "high", "auto"] = "auto"


class WireText(Wire):
    type: Literal["text"]
    text: str


class WireImage(Wire):
    type: Literal["image_url"]
    image_url: ImageUrl


def _text_as_parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


WirePart = Annotated[WireText | WireImage, Field(discriminator="type")]
Content = Annotated[list[WirePart], BeforeValidator(_text_as_parts)]


class FunctionCall(Wire):
    name: str
    arguments: str


class ToolCall(Wire):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class WireMessage(Wire):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    tool_calls: list[ToolCall] | None = None


# --- the request


class Function(Wire):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Wire):
    type: Literal["function"]
    function: Function


class StreamOptions(Wire):
    include_usage: bool = False


def only(*values: object) -> AfterValidator:
    """Accepts the values that change nothing; any other is refused by name, not left out silently."""

    def check(value: object) -> object:
        if value not in values:
            named = " and ".join(json.dumps(each) for each in values)
            raise PydanticCustomError("unsupported_value", "Supported so far: {named}.", {"named": named})
        return value

    return AfterValidator(check)


class ResponseFormat(Wire):
    type: Annotated[Literal["text", "json_object", "json_schema"], only("text")]


def _one_as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Penalty = Annotated[float, Field(ge=-2, le=2), only(0)]


class CompletionRequest(Wire):
    """Of several faults the one in the first of these fields is reported."""

    model: str
    messages: Annotated[list[WireMessage], Field(min_length=1)]
    max_completion_tokens: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: Annotated[
        list[Annotated[str, Field(min_length=1)]], Field(max_length=4), BeforeValidator(_one_as_list)
    ] = []
    stream: bool = False
    stream_options: StreamOptions | None = None
    prompt_cache_key: str | None = None
    tools: list[Tool] = []
    tool_choice: Annotated[Any, only("none", "auto")] = "auto"
    n: Annotated[int, Field(ge=1), only(1)] = 1
    response_format: ResponseFormat | None = None
    logprobs: Annotated[bool, only(False)] = False
    top_logprobs: Annotated[int, Field(ge=0, le=20), only(0)] = 0
    logit_bias: Annotated[dict[str, float], only({})] = {}
    presence_penalty: Penalty = 0
    frequency_penalty: Penalty = 0
    modalities: Annotated[list[str], only(["text"])] = ["text"]
    functions: Annotated[list[Any], only([])] = []

    @property
    def asked_tokens(self) -> int | None:
        """The newer name wins where a client sends both."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def ignored(self) -> list[str]:
        """What is accepted and left out all the same: Open WebUI sends its tools with every chat."""
        tools = ["tools"] if self.tools and self.tool_choice != "none" else []
        calls = ["messages[].tool_calls"] if any(message.tool_calls for message in self.messages) else []
        return tools + calls


# --- answers


class PromptTokensDetails(Wire):
    cached_tokens: int


class WireUsage(Wire):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class AnswerMessage(Wire):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(Wire):
    index: int = 0
    message: AnswerMessage
    logprobs: None = None
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
    logprobs: None = None
    finish_reason: FinishReason | None = None


class Chunk(Wire):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: WireUsage | None = None
    system_fingerprint: str


class WireModel(Wire):
    """The four keys OpenAI has, then ours: what a client may send to it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    context_length: int
    tokens_per_image: int
    limits: dict[str, int]


class ModelList(Wire):
    object: Literal["list"] = "list"
    data: list[WireModel]


class ErrorBody(Wire):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Wire):
    error: ErrorBody

    @classmethod
    def of(cls, error: GatewayError) -> "ErrorAnswer":
        return cls(
            error=ErrorBody(message=error.message, type=error.type, param=error.param, code=error.code)
        )
