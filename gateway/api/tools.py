"""The wire: the tools a model may call, which of them, and what form its reply is to have."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from gateway.api.wire import Wire, wrong

MAX_TOOLS = 128
MODES = ("none", "auto", "required")

FunctionName = Annotated[str, Field(min_length=1, max_length=64, pattern="^[a-zA-Z0-9_-]+$")]


class NamedTool(Protocol):
    """Of a request to whichever endpoint."""

    @property
    def name(self) -> str: ...


class Choosing(Protocol):
    """A `tool_choice`; `names` are those of the tools that are chosen by name."""

    @property
    def type(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def required(self) -> bool: ...


T = TypeVar("T", bound=NamedTool)
C = TypeVar("C", bound=Choosing)


class Function(Wire):
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool = False


class WireTool(Wire):
    type: Literal["function"]
    function: Function

    @property
    def name(self) -> str:
        return self.function.name


class Named(Wire):
    name: str


class ToolReference(Wire):
    type: Literal["function"] = "function"
    function: Named


class AllowedTools(Wire):
    mode: Literal["auto", "required"]
    tools: Annotated[list[ToolReference], Field(fail_fast=True, min_length=1, max_length=MAX_TOOLS)]


def mode_as_object(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in MODES:
        raise PydanticKnownError("literal_error", {"expected": "'none', 'auto' or 'required'"})
    return {"type": value}


class ToolChoice(Wire):
    """A mode is written without an object around it."""

    type: Literal["none", "auto", "required", "function", "allowed_tools"]
    function: Named | None = Field(default=None, validate_default=True)
    allowed_tools: AllowedTools | None = Field(default=None, validate_default=True)

    @field_validator("function", "allowed_tools")
    @classmethod
    def _is_there(cls, value: object, known: ValidationInfo) -> object:
        if value is None and known.data.get("type") == known.field_name:
            raise PydanticKnownError("missing")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        if self.function:
            return (self.function.name,)
        return tuple(each.function.name for each in self.allowed_tools.tools) if self.allowed_tools else ()

    @property
    def required(self) -> bool:
        mode = self.allowed_tools.mode if self.allowed_tools else self.type
        return mode in ("required", "function")


AUTO = ToolChoice(type="auto")
WrittenChoice = Annotated[ToolChoice, BeforeValidator(mode_as_object)]
Tools = Annotated[list[WireTool], Field(fail_fast=True, max_length=MAX_TOOLS)]


def check_tools(tools: list[T]) -> list[T]:
    """Raises an error of pydantic's for two tools of one name."""
    names = [tool.name for tool in tools]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise wrong(f"Two tools have the name '{name}'.")
    return tools


def check_choice(choice: C, tools: Sequence[NamedTool]) -> C:
    """Raises an error of pydantic's for a choice of what is not there."""
    if not tools and choice.type not in ("none", "auto"):
        raise PydanticCustomError("needs_tools", "It needs tools.")
    names = {tool.name for tool in tools}
    for name in choice.names:
        if name not in names:
            raise PydanticCustomError("unknown_tool", "There is no such tool.", {"name": name[:64]})
    return choice


class JsonSchema(Wire):
    """`strict` is a wish that is always granted."""

    name: FunctionName
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool = False


class ResponseFormat(Wire):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = Field(default=None, validate_default=True)

    @field_validator("json_schema")
    @classmethod
    def _is_there(cls, value: object, known: ValidationInfo) -> object:
        if value is None and known.data.get("type") == "json_schema":
            raise PydanticKnownError("missing")
        return value
