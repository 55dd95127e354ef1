"""What a request means: from the wire to the chat room's own messages, tools and wishes."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.api.chat_request import ConversationFields
from gateway.api.messages import (
    WireFrames,
    WireImage,
    WireMessage,
    WirePart,
    WireRefusal,
    WireText,
    WireVideo,
)
from gateway.api.tools import Choosing, NamedTool, ResponseFormat, WireTool
from gateway.chat.content import ImagePart, Link, Message, TextPart, ToolCall, VideoPart
from gateway.chat.conversation import Conversation, JsonReply, Tool, ToolUse
from gateway.errors import InvalidRequest
from gateway.vision.video import Pace

UNTHINKING = ("none", "minimal")
"""Efforts that are none, for models that either think or do not."""


def conversation(wanted: ConversationFields) -> Conversation:
    """Raises InvalidRequest for a message that says nothing at all."""
    use = tool_use(wanted.tool_choice, wanted.tools, wanted.parallel_tool_calls)
    return Conversation(
        messages(wanted.messages),
        tuple(_tool(tool) for tool in wanted.tools) if use.allowed else (),
        use,
        _json(wanted.response_format),
        variables(wanted.reasoning_effort, wanted.chat_template_kwargs),
    )


def tool_use(choice: Choosing, tools: Sequence[NamedTool], parallel: bool | None) -> ToolUse:
    """Whoever names one tool expects one call, unless it says otherwise."""
    if choice.type == "none":
        return ToolUse(())
    if parallel is None:
        parallel = choice.type != "function"
    allowed = choice.names or tuple(tool.name for tool in tools)
    return ToolUse(tuple(dict.fromkeys(allowed)), choice.required, parallel)


def variables(effort: str | None, more: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the chat template is told beside the messages."""
    thinking = {} if effort is None else {"enable_thinking": effort not in UNTHINKING}
    return {**thinking, **more}


def messages(wanted: Sequence[WireMessage]) -> tuple[Message, ...]:
    """One message for each. Raises InvalidRequest for one that says nothing at all."""
    return tuple(_message(index, message) for index, message in enumerate(wanted))


def _tool(tool: WireTool) -> Tool:
    function = tool.function
    return Tool(function.name, function.description, function.parameters, function.strict)


def _json(form: ResponseFormat | None) -> JsonReply | None:
    if form is None or form.type == "text":
        return None
    if form.json_schema is None:
        return JsonReply(None, "response_format")
    return JsonReply(form.json_schema.schema_, "response_format.json_schema.schema", form.json_schema.name)


def _message(index: int, message: WireMessage) -> Message:
    path = f"messages[{index}]"
    calls = message.tool_calls if message.role == "assistant" else []
    content = message.content
    if content is None and message.refusal is not None:
        content = [WireRefusal(type="refusal", refusal=message.refusal)]
    if content is None and not calls and not message.images:
        # OpenAI's own spelling of this path, with the dot.
        raise InvalidRequest(
            "Invalid value for 'content': expected a string, got null.", param=f"messages.[{index}].content"
        )
    # Ollama, whose form `images` is, shows pictures before the text.
    images = (_image(image, f"{path}.images[{place}]") for place, image in enumerate(message.images))
    parts = (_part(part, f"{path}.content[{place}]") for place, part in enumerate(content or []))
    return Message(
        message.role,
        (*images, *parts),
        message.name,
        tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in calls),
        message.tool_call_id,
        message.reasoning_content or message.reasoning or "",
    )


def _image(written: str, param: str) -> ImagePart:
    """A URL, or base64 without anything around it."""
    return ImagePart(written if ":" in written else f"data:image/png;base64,{written}", param)


def _part(part: WirePart, param: str) -> TextPart | ImagePart | VideoPart:
    match part:
        case WireText():
            return TextPart(part.text)
        case WireRefusal():
            return TextPart(part.refusal)
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
