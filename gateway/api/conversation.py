"""What the messages of a request mean: from the wire to the chat room's own messages."""

from collections.abc import Sequence

from gateway.api.protocol import WireFrames, WireImage, WireMessage, WirePart, WireText, WireVideo
from gateway.chat.content import ImagePart, Link, Message, TextPart, ToolCall, VideoPart
from gateway.errors import InvalidRequest
from gateway.vision.video import Pace


def messages(wanted: Sequence[WireMessage]) -> tuple[Message, ...]:
    """One message for each. Raises InvalidRequest for one that says nothing at all."""
    return tuple(_message(index, message) for index, message in enumerate(wanted))


def _message(index: int, message: WireMessage) -> Message:
    calls = message.tool_calls if message.role == "assistant" else None
    if message.content is None and not calls:
        # OpenAI's own spelling of this path, with the dot.
        raise InvalidRequest(
            "Invalid value for 'content': expected a string, got null.", param=f"messages.[{index}].content"
        )
    return Message(
        message.role,
        tuple(
            _part(part, f"messages[{index}].content[{place}]")
            for place, part in enumerate(message.content or [])
        ),
        message.name,
        tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in calls or []),
        message.tool_call_id,
    )


def _part(part: WirePart, param: str) -> TextPart | ImagePart | VideoPart:
    match part:
        case WireText():
            return TextPart(part.text)
        case WireImage():
            return ImagePart(part.image_url.url, f"{param}.image_url.url", part.image_url.detail)
        case WireVideo():
            return VideoPart(Link(part.video_url.url, f"{param}.video_url.url"), param, _pace(part))
        case WireFrames(video=[url]):  # a file, which may be a picture, and then is a video of one frame
            return VideoPart(Link(url, f"{param}.video"), param, _pace(part))
        case WireFrames():
            links = (Link(url, f"{param}.video[{place}]") for place, url in enumerate(part.video))
            return VideoPart(tuple(links), param, _pace(part))


def _pace(part: WireVideo | WireFrames) -> Pace:
    return Pace(part.fps, part.num_frames)
