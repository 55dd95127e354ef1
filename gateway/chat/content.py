"""Messages as the chat room understands them: roles, texts, pictures and videos, without JSON around them."""

from dataclasses import dataclass
from typing import Literal

from gateway.vision.video import Pace

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """`url` is a data: or http(s): URL as the client wrote it; `param` is its path in the request, such as
    messages[0].content[1].image_url.url, for errors."""

    url: str
    param: str


@dataclass(frozen=True, slots=True)
class ImagePart(Link):
    """`detail` is a wish (low, high, auto) that a vision graph of one fixed size cannot follow."""

    detail: str = "auto"

    @property
    def key(self) -> object:
        """Equal for parts that show the same."""
        return self.url


@dataclass(frozen=True, slots=True)
class VideoPart:
    """`source` is a file, or its frames in order. `pace` is how many are taken of a file; of frames its `fps`
    is how many there are for each second. `param` is the path of the part, such as messages[0].content[1]."""

    source: Link | tuple[Link, ...]
    param: str
    pace: Pace

    @property
    def key(self) -> object:
        """Equal for parts that show the same."""
        links = (self.source,) if isinstance(self.source, Link) else self.source
        return tuple(link.url for link in links), isinstance(self.source, Link), self.pace


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` is what the model wrote: JSON, unless it made a mistake."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """No parts at all is a message without content, such as an assistant's that only calls tools.
    `tool_call_id` is that of the call which a tool's message answers, `reasoning` what the assistant thought
    before it said this."""

    role: Role
    content: tuple[TextPart | ImagePart | VideoPart, ...]
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str = ""

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return tuple(part for part in self.content if isinstance(part, ImagePart))

    @property
    def videos(self) -> tuple[VideoPart, ...]:
        return tuple(part for part in self.content if isinstance(part, VideoPart))

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content if isinstance(part, TextPart))
