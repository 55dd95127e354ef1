"""The wire: the messages of a conversation, as OpenAI and the usual local servers write them."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.api.wire import OneOrList, Wire, only
from gateway.vision.video import MAX_LISTED

MAX_MESSAGES, MAX_PARTS, MAX_CALLS = 4096, 1024, 128


class ImageUrl(Wire):
    url: str
    detail: Literal["low", "high", "auto"] = "auto"


class WireText(Wire):
    type: Literal["text"]
    text: str


class WireImage(Wire):
    type: Literal["image_url"]
    image_url: ImageUrl


class VideoUrl(Wire):
    url: str


class WirePace(Wire):
    """See `gateway.vision.video.Pace`."""

    fps: float | None = Field(None, gt=0, le=240)
    num_frames: int | None = Field(None, ge=1)


class WireVideo(WirePace):
    type: Literal["video_url"]
    video_url: VideoUrl


class WireFrames(WirePace):
    """The other spelling: the URL of a file, or those of the frames."""

    type: Literal["video"]
    video: Annotated[list[str], Field(fail_fast=True, min_length=1, max_length=MAX_LISTED), OneOrList]


def _text_as_parts(value: object) -> object:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


class WireRefusal(Wire):
    """What other servers' models answered instead of an answer."""

    type: Literal["refusal"]
    refusal: str


WirePart = Annotated[WireText | WireImage | WireVideo | WireFrames | WireRefusal, Field(discriminator="type")]
# The first fault is the one reported: without fail_fast a million wrong items would be a million faults.
Content = Annotated[
    list[WirePart], Field(fail_fast=True, max_length=MAX_PARTS), BeforeValidator(_text_as_parts)
]


class FunctionCall(Wire):
    name: str
    arguments: str


class PastCall(Wire):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class WireMessage(Wire):
    """`images` are URLs or plain base64 beside the content, as Ollama's clients send them; servers call what
    the assistant thought by two names."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    images: Annotated[list[str], Field(fail_fast=True, max_length=MAX_PARTS)] = Field([])
    refusal: str | None = None
    name: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_call_id: str | None = None
    tool_calls: Annotated[list[PastCall], Field(fail_fast=True, max_length=MAX_CALLS)] = Field([])
    function_call: Annotated[Any, only(None)] = None
    audio: Annotated[Any, only(None)] = None


Messages = Annotated[list[WireMessage], Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES)]
