"""Messages and tools as chat templates read them: the JSON of OpenAI's requests."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.chat.content import ImagePart, Message, TextPart, ToolCall, VideoPart
from gateway.chat.conversation import Tool

Said = Mapping[str, Any]


def message_value(message: Message, as_text: bool) -> Said:
    """`as_text`: its content as one string, else as a list of parts."""
    # "developer" is OpenAI's later name for the same role; templates know the old one.
    role = "system" if message.role == "developer" else message.role
    content = message.text if as_text else [_part(part) for part in message.content]
    # Templates ask whether these are there at all, so what is not said is no key.
    said = {
        "name": message.name,
        "tool_call_id": message.tool_call_id,
        "reasoning_content": message.reasoning or None,
        "tool_calls": [_tool_call(call) for call in message.tool_calls] or None,
    }
    return {"role": role, "content": content} | {
        key: value for key, value in said.items() if value is not None
    }


def tool_value(tool: Tool) -> Said:
    """Without `strict`, which says nothing to a model. Templates rely on parameters, so a tool that takes
    none has an object without properties."""
    described = {} if tool.description is None else {"description": tool.description}
    parameters = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": tool.name, **described, "parameters": parameters}}


def _part(part: TextPart | ImagePart | VideoPart) -> dict[str, str]:
    match part:
        case ImagePart():
            return {"type": "image"}
        case VideoPart():
            return {"type": "video"}
        case TextPart():
            return {"type": "text", "text": part.text}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _arguments(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _arguments(written: str) -> dict[str, Any] | str:
    """An object where it is one, as templates expect; else what is written."""
    try:
        value = json.loads(written)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        return written
    return value if isinstance(value, dict) else written


def each_string(said: Said, change: Callable[[str], str]) -> Said:
    """The same with every string in it changed, names included."""
    return {change(str(key)): _each_string(value, change) for key, value in said.items()}


def _each_string(value: object, change: Callable[[str], str]) -> object:
    match value:
        case str():
            return change(value)
        case Mapping():
            return each_string(value, change)
        case Sequence():
            return [_each_string(each, change) for each in value]
    return value
