"""The wire: what a chat completions request looks like in JSON."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gateway.api.messages import Messages
from gateway.api.sampling import ChatSampling
from gateway.api.tools import (
    AUTO,
    ResponseFormat,
    ToolChoice,
    Tools,
    WrittenChoice,
    check_choice,
    check_tools,
)
from gateway.api.wire import Ignored, Wire, only, wrong

MAX_VARIABLES, MAX_VARIABLE = 32, 256
OURS = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message")
"""Variables of every chat template that are not the client's to set."""


def _check_variables(variables: dict[str, Any]) -> dict[str, Any]:
    for name, value in variables.items():
        if name in OURS:
            raise wrong(f"{name} is not for the request to set.")
        if (
            not isinstance(value, bool | int | float | str | None)
            or len(str(value)[: MAX_VARIABLE + 1]) > MAX_VARIABLE
        ):
            raise wrong(f"Expected booleans, numbers and strings of up to {MAX_VARIABLE} characters.")
    return variables


Variables = Annotated[
    dict[Annotated[str, Field(max_length=64)], Any],
    Field(max_length=MAX_VARIABLES),
    AfterValidator(_check_variables),
]


class ConversationFields(Wire):
    """What the model is told, and what is asked of its reply."""

    model: str
    messages: Messages
    tools: Annotated[Tools, AfterValidator(check_tools)] = Field([])
    tool_choice: WrittenChoice = AUTO
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    chat_template_kwargs: Variables = Field({})

    @field_validator("tool_choice")
    @classmethod
    def _is_there(cls, choice: ToolChoice, others: ValidationInfo) -> ToolChoice:
        return check_choice(choice, others.data.get("tools", []))


class ChatRequest(ChatSampling, ConversationFields):
    """Of several faults the one in the first of these fields is reported, those of a conversation before
    those of sampling."""

    modalities: Annotated[list[str], Field(fail_fast=True), only(["text"])] = Field(["text"])
    functions: Annotated[list[Any], only([])] = Field([])
    function_call: Annotated[Any, only("none", "auto")] = "auto"
    audio: Annotated[Any, only(None)] = None
    prediction: Annotated[Any, only(None)] = None
    web_search_options: Annotated[Any, only(None)] = None
    verbosity: Annotated[str, only("medium")] = "medium"
    moderation: Annotated[Any, only(None)] = None
    user: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_retention: Ignored = None
    prompt_cache_options: Ignored = None
