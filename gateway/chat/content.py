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
class ToolCall:
    """`arguments` is what the model wrote: JSON, unless it made a mistake."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """No parts at all is a message without content, such as an assistant's that only calls tools.
    `tool_call_id` is that of the call which a tool's message answers."""

    role: Role
    content: tuple[TextPart | ImagePart, ...]
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return tuple(part for part in self.content if isinstance(part, ImagePart))

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content if isinstance(part, TextPart))
