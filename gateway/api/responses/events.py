"""The wire: the events of a streamed response. `sequence_number` is the place in the stream, from 0."""

from typing import Literal

from gateway.api.responses.items import AnyItem, ReasoningText, ResponseLogprob, SaidText
from gateway.api.responses.response import WireResponse
from gateway.api.wire import Wire


class Event(Wire):
    sequence_number: int = 0


class LifecycleEvent(Event):
    type: Literal[
        "response.created",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    response: WireResponse


class ItemEvent(Event):
    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: AnyItem


class PlacedEvent(Event):
    """About the item `item_id`, which is the output's number `output_index`."""

    item_id: str
    output_index: int


class PartEvent(PlacedEvent):
    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: int = 0
    part: SaidText | ReasoningText


class TextDeltaEvent(PlacedEvent):
    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    content_index: int = 0
    delta: str
    logprobs: list[ResponseLogprob]


class TextDoneEvent(PlacedEvent):
    type: Literal["response.output_text.done"] = "response.output_text.done"
    content_index: int = 0
    text: str
    logprobs: list[ResponseLogprob]


class ReasoningDeltaEvent(PlacedEvent):
    type: Literal["response.reasoning_text.delta"] = "response.reasoning_text.delta"
    content_index: int = 0
    delta: str


class ReasoningDoneEvent(PlacedEvent):
    type: Literal["response.reasoning_text.done"] = "response.reasoning_text.done"
    content_index: int = 0
    text: str


class ArgumentsDeltaEvent(PlacedEvent):
    type: Literal["response.function_call_arguments.delta"] = "response.function_call_arguments.delta"
    delta: str


class ArgumentsDoneEvent(PlacedEvent):
    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    name: str
    arguments: str


class ErrorEvent(Event):
    type: Literal["error"] = "error"
    code: str | None
    message: str
    param: str | None


AnyEvent = (
    LifecycleEvent
    | ItemEvent
    | PartEvent
    | TextDeltaEvent
    | TextDoneEvent
    | ReasoningDeltaEvent
    | ReasoningDoneEvent
    | ArgumentsDeltaEvent
    | ArgumentsDoneEvent
    | ErrorEvent
)
