"""What the items of a response mean: from the wire to the chat room's own messages."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.api.conversation import tool_use, variables
from gateway.api.responses.items import (
    AnyItem,
    CallItem,
    CallOutputItem,
    InputImage,
    InputText,
    MessageItem,
    OutputText,
    Part,
    ReasoningItem,
    Refusal,
)
from gateway.api.responses.request import FunctionTool, ResponseRequest, TextFormat
from gateway.chat.content import ImagePart, Message, TextPart, ToolCall
from gateway.chat.conversation import Conversation, JsonReply, Tool
from gateway.errors import InvalidRequest, cut

BEFORE = "previous_response_id"
"""What errors call the place of items that came with an earlier request."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A message, and the path in the request of what it was made of."""

    message: Message
    path: str

    def with_call(self, call: ToolCall) -> "Placed":
        calls = (*self.message.tool_calls, call)
        return Placed(replace(self.message, tool_calls=calls), self.path)


def conversation(wanted: ResponseRequest, messages: Iterable[Message]) -> Conversation:
    use = tool_use(wanted.tool_choice, wanted.tools, wanted.parallel_tool_calls)
    return Conversation(
        tuple(messages),
        tuple(_tool(tool) for tool in wanted.tools) if use.allowed else (),
        use,
        _json(wanted.text.format),
        variables(wanted.reasoning.effort, wanted.chat_template_kwargs),
    )


def placed_messages(
    instructions: str | None, before: Iterable[AnyItem], items: Sequence[AnyItem]
) -> list[Placed]:
    """One for each message and each output of a call. A turn of the assistant's, which is several items
    (reasoning, text, calls), is one too; reasoning that nothing of the assistant's follows is left out.
    Raises InvalidRequest for the output of a call that nobody made, and for reasoning at the end."""
    paths = [(item, BEFORE) for item in before]
    paths += [(item, f"input[{index}]") for index, item in enumerate(items)]
    told = [Placed(Message("system", (TextPart(instructions),)), "instructions")] if instructions else []
    called: dict[str, str] = {}
    thought = ""
    for item, path in paths:
        match item:
            case ReasoningItem():
                thought = "".join(part.text for part in item.content)
                continue
            case MessageItem(role="assistant"):
                content = _content(item.content, f"{path}.content")
                told.append(Placed(Message("assistant", content, reasoning=thought), path))
            case CallItem():
                called[item.call_id] = item.name
                if not told or told[-1].message.role != "assistant":
                    told.append(Placed(Message("assistant", (), reasoning=thought), path))
                told[-1] = told[-1].with_call(ToolCall(item.call_id, item.name, item.arguments))
            case CallOutputItem():
                told.append(Placed(_result(item, called, path), path))
            case MessageItem():
                told.append(Placed(Message(item.role, _content(item.content, f"{path}.content")), path))
        thought = ""
    if paths and isinstance(paths[-1][0], ReasoningItem):
        raise InvalidRequest(
            f"Item '{cut(paths[-1][0].id or '')}' of type 'reasoning' was provided without its required "
            "following item.",
            param="input",
        )
    return told


def _result(item: CallOutputItem, called: Mapping[str, str], path: str) -> Message:
    if item.call_id not in called:
        raise InvalidRequest(
            f"No tool call found for function call output with call_id {cut(item.call_id)}.", param="input"
        )
    content = _content(item.output, f"{path}.output")
    return Message("tool", content, called[item.call_id], tool_call_id=item.call_id)


def renamed(error: InvalidRequest, told: Sequence[Placed]) -> InvalidRequest:
    """An error about a chat's messages and tools, as one about the items and tools of a response."""
    if error.param is None:
        return error
    param = re.sub(r"^messages\[(\d+)\]", lambda found: told[int(found[1])].path, error.param)
    param = re.sub(r"^messages$", "input", param)
    param = re.sub(r"^(tools\[\d+\]|tool_choice)\.function", r"\1", param)
    message = error.message.replace(f"'{error.param}'", f"'{param}'")
    return InvalidRequest(message, param=param, code=error.code)


def _tool(tool: FunctionTool) -> Tool:
    return Tool(tool.name, tool.description, tool.parameters, bool(tool.strict))


def _json(form: TextFormat) -> JsonReply | None:
    if form.type == "text":
        return None
    param = "text.format" if form.schema_ is None else "text.format.schema"
    return JsonReply(form.schema_, param, form.name or "")


def _content(parts: Sequence[Part], path: str) -> tuple[TextPart | ImagePart, ...]:
    return tuple(_part(part, f"{path}[{place}]") for place, part in enumerate(parts))


def _part(part: Part, path: str) -> TextPart | ImagePart:
    match part:
        case InputText() | OutputText():
            return TextPart(part.text)
        case Refusal():
            return TextPart(part.refusal)
        case InputImage():
            return ImagePart(part.image_url, f"{path}.image_url", part.detail)
