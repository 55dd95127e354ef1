"""The wire: what a request to /v1/responses looks like in JSON."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

from gateway.api.chat_request import Variables
from gateway.api.responses.items import Items
from gateway.api.sampling import MAX_TOP_LOGPROBS, SamplingFields
from gateway.api.tools import (
    MAX_TOOLS,
    MODES,
    FunctionName,
    Named,
    check_choice,
    check_tools,
    mode_as_object,
)
from gateway.api.wire import Ignored, Wire, only, wrong
from gateway.chat.generation import GenerationDefaults
from gateway.engine.prompt import SamplingParams

MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512

LOGPROBS = "message.output_text.logprobs"


# --- tools


class FunctionTool(Wire):
    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionReference(Named):
    type: Literal["function"] = "function"


class ToolChoice(Wire):
    """A mode is written without an object around it."""

    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    name: str | None = Field(default=None, validate_default=True)
    mode: Literal["auto", "required"] | None = Field(default=None, validate_default=True)
    tools: Annotated[
        list[FunctionReference] | None, Field(fail_fast=True, min_length=1, max_length=MAX_TOOLS)
    ] = Field(default=None, validate_default=True)

    @field_validator("name", "mode", "tools")
    @classmethod
    def _is_there(cls, value: object, known: ValidationInfo) -> object:
        needed = "function" if known.field_name == "name" else "allowed_tools"
        if value is None and known.data.get("type") == needed:
            raise PydanticKnownError("missing")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        if self.type == "function":
            return (self.name or "",)
        return tuple(tool.name for tool in self.tools or []) if self.type == "allowed_tools" else ()

    @property
    def required(self) -> bool:
        return (self.mode if self.type == "allowed_tools" else self.type) in ("required", "function")

    @property
    def shown(self) -> str | dict[str, Any]:
        """As it is written."""
        return self.type if self.type in MODES else self.model_dump(exclude_none=True)


# --- the form of the answer


class TextFormat(Wire):
    """`strict` is a wish that is always granted."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: FunctionName | None = Field(default=None, validate_default=True)
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema", validate_default=True)
    strict: bool | None = None

    @field_validator("name", "schema_")
    @classmethod
    def _is_there(cls, value: object, known: ValidationInfo) -> object:
        if value is None and known.data.get("type") == "json_schema":
            raise PydanticKnownError("missing")
        return value


class TextWishes(Wire):
    format: TextFormat = TextFormat()
    verbosity: Annotated[Literal["low", "medium", "high"], only("medium")] = "medium"


class Reasoning(Wire):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


Includable = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "message.input_image.image_url",
    "web_search_call.results",
    "web_search_call.action.sources",
    "file_search_call.results",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]


# --- the request


def _check_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    fits = len(metadata) <= MAX_METADATA and all(
        isinstance(value, str) and len(key) <= MAX_METADATA_KEY and len(value) <= MAX_METADATA_VALUE
        for key, value in metadata.items()
    )
    if not fits:
        raise wrong(
            f"Expected up to {MAX_METADATA} strings of up to {MAX_METADATA_VALUE} characters, with keys of "
            f"up to {MAX_METADATA_KEY}."
        )
    return metadata


def _check_truncation(value: str) -> str:
    if value != "disabled":
        raise wrong("The input is never truncated: what does not fit is refused.")
    return value


class ResponseRequest(SamplingFields):
    """Of several faults the one in the first of these fields is reported, those of sampling before the
    others."""

    n: Annotated[int, only(1)] = 1
    model: str
    previous_response_id: str | None = None
    input: Items | None = Field(default=None, validate_default=True)
    instructions: str | None = None
    tools: Annotated[
        list[FunctionTool], Field(fail_fast=True, max_length=MAX_TOOLS), AfterValidator(check_tools)
    ] = Field(default=[])
    tool_choice: Annotated[ToolChoice, BeforeValidator(mode_as_object)] = ToolChoice(type="auto")
    parallel_tool_calls: bool | None = None
    text: TextWishes = TextWishes()
    reasoning: Reasoning = Reasoning()
    chat_template_kwargs: Variables = Field(default={})
    max_output_tokens: int | None = Field(None, ge=1)
    max_tool_calls: int | None = Field(None, ge=1)
    include: Annotated[list[Includable], Field(fail_fast=True)] = Field(default=[])
    top_logprobs: int = Field(0, ge=0, le=MAX_TOP_LOGPROBS)
    store: bool = True
    metadata: Annotated[dict[str, Any], AfterValidator(_check_metadata)] = Field(default={})
    truncation: Annotated[Literal["auto", "disabled"], AfterValidator(_check_truncation)] = "disabled"
    background: Annotated[bool, only(False)] = False
    conversation: Annotated[Any, only(None)] = None
    prompt: Annotated[Any, only(None)] = None
    context_management: Annotated[Any, only(None)] = None
    moderation: Annotated[Any, only(None)] = None
    user: Ignored = None
    safety_identifier: str | None = None
    service_tier: Ignored = None
    prompt_cache_retention: Ignored = None

    @field_validator("input")
    @classmethod
    def _is_there(cls, items: Items | None, others: ValidationInfo) -> Items | None:
        """There is nothing to say where there was nothing before."""
        if items is None and not others.data.get("previous_response_id"):
            raise PydanticKnownError("missing")
        return items

    @field_validator("tool_choice")
    @classmethod
    def _chooses_from_tools(cls, choice: ToolChoice, others: ValidationInfo) -> ToolChoice:
        return check_choice(choice, others.data.get("tools", []))

    def sampling(self, defaults: GenerationDefaults, room: int) -> SamplingParams:
        """`room` is how many tokens fit."""
        return self.params(defaults, min(self.max_output_tokens or room, room), self.num_top_logprobs)

    @property
    def num_top_logprobs(self) -> int | None:
        """None where none are asked for."""
        return self.top_logprobs if self.top_logprobs or LOGPROBS in self.include else None
