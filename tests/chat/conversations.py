"""Conversations in short form, and what is around a model in tests."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gateway
from gateway.chat.content import ImagePart, Link, Message, Role, TextPart, ToolCall, VideoPart
from gateway.chat.conversation import Tool
from gateway.vision.video import Pace

DEMO = Path(gateway.__file__).with_name("demo") / "checkpoint"
GOLDEN = Path(__file__).with_name("golden")

IMAGE = ImagePart("data:image/png;base64,", "messages[0].content[0].image_url.url")
VIDEO = VideoPart(
    Link("data:video/mp4;base64,", "messages[0].content[0].video_url.url"), "messages[0].content[0]", Pace()
)


def message(role: Role, *content: str | ImagePart | VideoPart) -> Message:
    return Message(role, tuple(TextPart(part) if isinstance(part, str) else part for part in content))


def calls(*called: tuple[str, str], text: str = "") -> Message:
    """An assistant's message that calls tools: each with a name and its arguments."""
    content = (TextPart(text),) if text else ()
    made = (ToolCall(f"call_{place}", name, arguments) for place, (name, arguments) in enumerate(called))
    return Message("assistant", content, tool_calls=tuple(made))


def result(place: int, text: str, name: str | None = None) -> Message:
    return Message("tool", (TextPart(text),), name, tool_call_id=f"call_{place}")


def user(*content: str | ImagePart | VideoPart) -> Message:
    return message("user", *content)


CONVERSATIONS: dict[str, Sequence[Message]] = {
    "one question": [user("What color is the circle?")],
    "system first": [message("system", "Be terse.\n"), user(" Hi ")],
    "only a system message": [message("system", "Say hi.")],
    "second turn": [user("One"), message("assistant", "1, 2"), user("Two")],
    "to be continued": [user("Count."), message("assistant", "1, 2,")],
    "to be continued after a blank": [user("Count."), message("assistant", "1, 2, ")],
    "scripts and symbols": [user("重复：你好🌍 مرحبا <b>&amp;</b> {{ 7 * 7 }} {% raw %}")],
    "nothing said": [user("")],
}
PICTURES: dict[str, Sequence[Message]] = {
    "picture then text": [user(IMAGE, "Describe.")],
    "text then picture": [user("Describe.", IMAGE)],
    "two pictures": [user(IMAGE, "and", IMAGE, "Compare.")],
    "pictures in two turns": [user("One", IMAGE), message("assistant", "A disc."), user("Two", IMAGE)],
}
VIDEOS: dict[str, Sequence[Message]] = {
    "video then text": [user(VIDEO, "Describe.")],
    "picture, video, picture": [user(IMAGE, VIDEO, "and", IMAGE, "Compare.")],
    "videos in two turns": [user("One", VIDEO), message("assistant", "A disc."), user(VIDEO, "Two")],
}
CALLS: dict[str, Sequence[Message]] = {
    "tool result": [user("Weather?"), message("assistant"), message("tool", "31 C")],
    "tool called and answered": [
        user("Weather?"),
        calls(("weather", '{"city": "Köln <3", "days": [1, 2.5, null]}')),
        result(0, "31 C", name="weather"),
    ],
    "two tools after a word": [
        user("Weather?"),
        calls(("here", "{}"), ("weather", '{"a":{"b":true}}'), text="Let me see."),
        result(0, "Köln"),
        result(1, "31 C"),
        message("assistant", "31 °C."),
        user("Thanks"),
    ],
    "arguments that are no object": [user("Hi"), calls(("one", '{"city": '), ("two", "[1]"), ("three", ""))],
    "tool called and not answered": [user("Weather?"), calls(("weather", "{}"))],
    "tools after what the system says": [message("system", "Be terse."), user("Weather?")],
    "thought before it was said": [
        user("Weather?"),
        replace(calls(("weather", "{}")), reasoning="They ask for it."),
        result(0, "31 C"),
        replace(message("assistant", "31 °C."), reasoning="So it is.\n"),
        user("Thanks"),
    ],
}
WEATHER = Tool(
    "weather",
    "The weather <now> & 'then', in °C",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
HERE = Tool("here")
