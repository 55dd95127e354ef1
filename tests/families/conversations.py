"""What is said to every family: pictures in number and place."""

from collections.abc import Sequence

from gateway.chat.content import ImagePart, Message, TextPart

PICTURE = ImagePart("", "")


def user(*parts: str | ImagePart) -> Message:
    return Message("user", tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


CONVERSATIONS: dict[str, tuple[Message, ...]] = {
    "no picture": (user("what is red?"),),
    "picture first": (user(PICTURE, "what is it?"),),
    "picture last": (user("what is this? ", PICTURE),),
    "picture alone": (user(PICTURE),),
    "text around two pictures": (user("one: ", PICTURE, "two: ", PICTURE, "which is red?"),),
    "five pictures": (user(*[PICTURE] * 5, "how many?"),),
    "system prompt": (
        Message("system", (TextPart("answer in one word."),)),
        user(PICTURE, "what colour?"),
        Message("assistant", (TextPart("red"),)),
        user("and this? ", PICTURE),
    ),
    "three turns": (
        user(PICTURE, "what colour?"),
        Message("assistant", (TextPart("red"),)),
        user("and here?\n", PICTURE, PICTURE),
        Message("assistant", (TextPart("two circles"),)),
        user("are you sure?"),
    ),
}

SIZES = [(50, 40), (31, 57), (64, 64), (120, 20), (20, 90)]
"""Widths and heights of the pictures of a conversation, in order."""


def about(num_pictures: int) -> tuple[Message, ...]:
    """A question about so many pictures, with text before, between and after."""
    parts = [part for number in range(num_pictures) for part in (f"picture {number}: ", PICTURE)]
    return (user(*parts, "what is in the middle?"),)


def num_pictures(messages: Sequence[Message]) -> int:
    return sum(len(message.images) for message in messages)
