"""Items of a response that are being written: what is added to each, and the events that tell of it."""

from collections.abc import Iterator
from uuid import uuid4

from gateway.api.responses.events import (
    AnyEvent,
    ArgumentsDeltaEvent,
    ArgumentsDoneEvent,
    ItemEvent,
    PartEvent,
    ReasoningDeltaEvent,
    ReasoningDoneEvent,
    TextDeltaEvent,
    TextDoneEvent,
)
from gateway.api.responses.items import (
    AnyItem,
    CallItem,
    MessageItem,
    ReasoningItem,
    ReasoningText,
    ResponseLogprob,
    SaidText,
    Status,
)


class OpenMessage:
    """What the assistant says."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = f"msg_{uuid4().hex}"
        self._text = ""
        self._logprobs: list[ResponseLogprob] = []

    def begin(self) -> Iterator[AnyEvent]:
        item = MessageItem(id=self.id, status="in_progress", role="assistant", content=[])
        yield ItemEvent(type="response.output_item.added", output_index=self.index, item=item)
        yield PartEvent(
            type="response.content_part.added",
            item_id=self.id,
            output_index=self.index,
            part=SaidText(text=""),
        )

    def add(self, text: str, logprobs: list[ResponseLogprob]) -> AnyEvent:
        self._text += text
        self._logprobs += logprobs
        return TextDeltaEvent(item_id=self.id, output_index=self.index, delta=text, logprobs=logprobs)

    def end(self) -> Iterator[AnyEvent]:
        part = SaidText(text=self._text, logprobs=self._logprobs)
        yield TextDoneEvent(item_id=self.id, output_index=self.index, text=part.text, logprobs=part.logprobs)
        yield PartEvent(
            type="response.content_part.done", item_id=self.id, output_index=self.index, part=part
        )

    def item(self, status: Status) -> AnyItem:
        part = SaidText(text=self._text, logprobs=self._logprobs)
        return MessageItem(id=self.id, status=status, role="assistant", content=[part])


class OpenReasoning:
    """What the model thinks before."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = f"rs_{uuid4().hex}"
        self._text = ""

    def begin(self) -> Iterator[AnyEvent]:
        item = ReasoningItem(id=self.id, status="in_progress")
        yield ItemEvent(type="response.output_item.added", output_index=self.index, item=item)
        yield PartEvent(
            type="response.content_part.added",
            item_id=self.id,
            output_index=self.index,
            part=ReasoningText(text=""),
        )

    def add(self, text: str) -> AnyEvent:
        self._text += text
        return ReasoningDeltaEvent(item_id=self.id, output_index=self.index, delta=text)

    def end(self) -> Iterator[AnyEvent]:
        yield ReasoningDoneEvent(item_id=self.id, output_index=self.index, text=self._text)
        yield PartEvent(
            type="response.content_part.done",
            item_id=self.id,
            output_index=self.index,
            part=ReasoningText(text=self._text),
        )

    def item(self, status: Status) -> AnyItem:
        return ReasoningItem(id=self.id, status=status, content=[ReasoningText(text=self._text)])


class OpenCall:
    """A tool that the model calls; `number` is the call's place among those of the reply."""

    def __init__(self, index: int, number: int, call_id: str, name: str) -> None:
        self.index = index
        self.number = number
        self.id = f"fc_{uuid4().hex}"
        self._call_id = call_id
        self._name = name
        self._arguments = ""

    def begin(self) -> Iterator[AnyEvent]:
        yield ItemEvent(
            type="response.output_item.added", output_index=self.index, item=self.item("in_progress")
        )

    def add(self, arguments: str) -> AnyEvent:
        self._arguments += arguments
        return ArgumentsDeltaEvent(item_id=self.id, output_index=self.index, delta=arguments)

    def end(self) -> Iterator[AnyEvent]:
        yield ArgumentsDoneEvent(
            item_id=self.id, output_index=self.index, name=self._name, arguments=self._arguments
        )

    def item(self, status: Status) -> AnyItem:
        return CallItem(
            id=self.id, status=status, call_id=self._call_id, name=self._name, arguments=self._arguments
        )
