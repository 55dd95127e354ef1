"""The wire: what a chat completions request looks like in JSON, and every answer but the completion.

Requests are validated strictly: "5" is no integer, nor is true. Null means absent where a key is optional.
Keys nobody knows are ignored, as every client expects of a local server; what OpenAI knows and this server
does not do yet is accepted only with a value that changes nothing (`only`).
"""

import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gateway.errors import GatewayError
from gateway.vision.video import MAX_LISTED

MAX_MESSAGES, MAX_PARTS, MAX_TOOLS, MAX_BIASES = 4096, 1024, 128, 1024
MAX_NAME = 512  # characters in the name of a conversation


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


def _one_as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class VideoUrl(Wire):
    url: str


class WirePace(Wire):
    """See `gateway.vision.video.Pace`."""

    fps: float | None = Field(None, gt=0, le=240)
    num_frames: int | None = Field(None, ge=1)


class WireVideo(WirePace):
    type: Literal["video_url"]
    video_url: VideoUrl


class WireFrames(WirePace):
    """The other spelling: the URL of a file, or those of the frames."""

    type: Literal["video"]
    video: Annotated[
        list[str],
        Field(fail_fast=True, min_length=1, max_length=MAX_LISTED),
        BeforeValidator(_one_as_list),
    ]


def _text_as_parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


WirePart = Annotated[WireText | WireImage | WireVideo | WireFrames, Field(discriminator="type")]
# The first fault is the one reported: without fail_fast a million wrong items would be a million faults.
Content = Annotated[
    list[WirePart], Field(fail_fast=True, max_length=MAX_PARTS), BeforeValidator(_text_as_parts)
]


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
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = None


Messages = Annotated[list[WireMessage], Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES)]


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


def _token_id(value: object) -> int:
    """JSON has no integer keys, so ids come as text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    raise PydanticCustomError("no_token_id", "Expected a token id.")


Penalty = Annotated[float, Field(ge=-2, le=2)]
TokenId = Annotated[int, BeforeValidator(_token_id)]


class CompletionRequest(Wire):
    """Of several faults the one in the first of these fields is reported."""

    model: str
    messages: Messages
    max_completion_tokens: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(fail_fast=True, max_length=4),
        BeforeValidator(_one_as_list),
    ] = []
    stream: bool = False
    stream_options: StreamOptions | None = None
    prompt_cache_key: str | None = Field(None, max_length=MAX_NAME)
    tools: Annotated[list[Tool], Field(fail_fast=True, max_length=MAX_TOOLS)] = []
    tool_choice: Annotated[Any, only("none", "auto")] = "auto"
    n: Annotated[int, Field(ge=1), only(1)] = 1
    response_format: ResponseFormat | None = None
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-100, le=100)]] = Field({}, max_length=MAX_BIASES)
    presence_penalty: Penalty = 0
    frequency_penalty: Penalty = 0
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    min_p: float | None = Field(None, ge=0, le=1)
    modalities: Annotated[list[str], Field(fail_fast=True), only(["text"])] = ["text"]
    functions: Annotated[list[Any], only([])] = []
    function_call: Annotated[Any, only("none", "auto")] = "auto"
    audio: Annotated[Any, only(None)] = None
    prediction: Annotated[Any, only(None)] = None
    web_search_options: Annotated[Any, only(None)] = None
    verbosity: Annotated[str, only("medium")] = "medium"

    @field_validator("top_logprobs")
    @classmethod
    def _needs_logprobs(cls, number: int, others: ValidationInfo) -> int:
        if number and not others.data.get("logprobs", True):
            raise PydanticCustomError("needs_another", "It needs logprobs.", {"other": "logprobs"})
        return number

    @property
    def asked_tokens(self) -> int | None:
        """The newer name wins where a client sends both."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def has_tool_calls(self) -> bool:
        """Whether the assistant called tools in earlier turns."""
        return any(message.tool_calls for message in self.messages)


# --- answers


class WireModel(Wire):
    """The four keys OpenAI has, then ours: what a client may send to it. None where that is not known before
    the model was loaded for the first time."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    loaded: bool
    context_length: int | None
    min_tokens_per_image: int | None
    max_tokens_per_image: int | None
    limits: dict[str, int | None]


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
