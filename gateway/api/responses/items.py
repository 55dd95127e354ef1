"""The wire: the items that /v1/responses is asked with and answers with.

An item that was an answer is taken back as it was told. What only describes it there (annotations, log
probabilities) is not read again.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gateway.api.messages import MAX_MESSAGES, MAX_PARTS
from gateway.api.wire import Wire, only

Status = Literal["in_progress", "completed", "incomplete"]


# --- parts


class InputText(Wire):
    type: Literal["input_text"] = "input_text"
    text: str


class InputImage(Wire):
    type: Literal["input_image"] = "input_image"
    file_id: Annotated[Any, only(None)] = None
    image_url: str
    detail: Literal["low", "high", "auto", "original"] = "auto"


class ResponseToken(Wire):
    token: str
    bytes: list[int]
    logprob: float


class ResponseLogprob(ResponseToken):
    top_logprobs: list[ResponseToken]


Unread = BeforeValidator(lambda _: [])


class OutputText(Wire):
    type: Literal["output_text"] = "output_text"
    text: str
    annotations: Annotated[list[None], Unread] = Field(default=[])
    logprobs: Annotated[list[ResponseLogprob], Unread] = Field(default=[])


class SaidText(OutputText):
    """As it is told."""

    logprobs: list[ResponseLogprob] = Field(default=[])


class Refusal(Wire):
    type: Literal["refusal"] = "refusal"
    refusal: str


class ReasoningText(Wire):
    type: Literal["reasoning_text"] = "reasoning_text"
    text: str


class SummaryText(Wire):
    type: Literal["summary_text"] = "summary_text"
    text: str


# The first fault is the one reported: without fail_fast a million wrong parts would be a million faults.
Part = Annotated[InputText | InputImage | OutputText | Refusal, Field(discriminator="type")]
Parts = Annotated[list[Part], Field(fail_fast=True, max_length=MAX_PARTS)]


# --- items


def _text_as_part(data: object) -> object:
    """Of a message or a tool's output whose content is a string."""
    if not isinstance(data, Mapping):
        return data
    kind = "output_text" if data.get("role") == "assistant" else "input_text"
    return {
        key: [{"type": kind, "text": value}]
        if key in ("content", "output") and isinstance(value, str)
        else value
        for key, value in data.items()
    }


class MessageItem(Wire):
    type: Literal["message"] = "message"
    id: str | None = None
    status: Status = "completed"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts

    _texts = model_validator(mode="before")(_text_as_part)


class CallItem(Wire):
    type: Literal["function_call"] = "function_call"
    id: str | None = None
    status: Status = "completed"
    call_id: str
    name: str
    arguments: str


class CallOutputItem(Wire):
    type: Literal["function_call_output"] = "function_call_output"
    id: str | None = None
    status: Status = "completed"
    call_id: str
    output: Parts

    _texts = model_validator(mode="before")(_text_as_part)


class ReasoningItem(Wire):
    """`summary` stays empty in answers: what the models here think is told whole."""

    type: Literal["reasoning"] = "reasoning"
    id: str | None = None
    status: Status = "completed"
    summary: Annotated[list[SummaryText], Field(fail_fast=True, max_length=MAX_PARTS)] = Field(default=[])
    content: Annotated[list[ReasoningText], Field(fail_fast=True, max_length=MAX_PARTS)] = Field(default=[])


AnyItem = MessageItem | CallItem | CallOutputItem | ReasoningItem


class ItemReference(Wire):
    """Stands for an item of a response that is kept."""

    type: Literal["item_reference"]
    id: str


def _input_as_items(value: object) -> object:
    """A string is what the user says; a message need not say that it is one."""
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if not isinstance(value, Sequence):
        return value
    return [
        item | {"type": "message"}
        if isinstance(item, dict) and item.get("type") is None and "role" in item
        else item
        for item in value
    ]


Items = Annotated[
    list[Annotated[AnyItem | ItemReference, Field(discriminator="type")]],
    Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES),
    BeforeValidator(_input_as_items),
]
