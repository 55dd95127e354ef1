"""Messages as the chat room understands them: roles, texts and pictures, without JSON around them."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """`url` is a data: or http(s): URL as the client wrote it; `param` is its path in the request, such as
    messages[0].content[1].image_url.url, for errors. `detail` is a wish (low, high, auto) that a vision graph
    of one fixed size cannot follow."""

    url: str
    param: str
    detail: str = "auto"


@dataclass(frozen=True, slots=True)
class Message:
    """No parts at all is a message without content, such as an assistant's that only calls tools."""

    role: Role
    content: tuple[TextPart | ImagePart, ...]

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return tuple(part for part in self.content if isinstance(part, ImagePart))

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content if isinstance(part, TextPart))
