"""What the messages of a request mean: from the wire to the chat room's own messages."""

from collections.abc import Sequence

from gateway.api.protocol import WireImage, WireMessage
from gateway.chat.content import ImagePart, Message, TextPart, ToolCall
from gateway.errors import InvalidRequest


def conversation(messages: Sequence[WireMessage]) -> tuple[Message, ...]:
    """One message for each. Raises InvalidRequest for one that says nothing at all."""
    return tuple(_message(index, message) for index, message in enumerate(messages))


def _message(index: int, message: WireMessage) -> Message:
    calls = message.tool_calls if message.role == "assistant" else None
    if message.content is None and not calls:
        # OpenAI's own spelling of this path, with the dot.
        raise InvalidRequest(
            "Invalid value for 'content': expected a string, got null.", param=f"messages.[{index}].content"
        )
    parts: list[TextPart | ImagePart] = []
    for place, part in enumerate(message.content or []):
        if isinstance(part, WireImage):
            param = f"messages[{index}].content[{place}].image_url.url"
            parts.append(ImagePart(part.image_url.url, param, part.image_url.detail))
        else:
            parts.append(TextPart(part.text))
    return Message(
        message.role,
        tuple(parts),
        message.name,
        tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in calls or []),
        message.tool_call_id,
    )
