"""Conversations in short form, and what is around a model in tests."""

from collections.abc import Sequence
from pathlib import Path

import gateway
from gateway.chat.content import ImagePart, Message, Role, TextPart

DEMO = Path(gateway.__file__).with_name("demo") / "checkpoint"
GOLDEN = Path(__file__).with_name("golden")

IMAGE = ImagePart("data:image/png;base64,", "messages[0].content[0].image_url.url")


def message(role: Role, *content: str | ImagePart) -> Message:
    return Message(role, tuple(TextPart(part) if isinstance(part, str) else part for part in content))


def user(*content: str | ImagePart) -> Message:
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
    "tool result": [user("Weather?"), message("assistant"), message("tool", "31 C")],
}
