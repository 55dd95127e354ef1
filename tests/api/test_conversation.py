"""Videos on the wire: the ways to write one, and what is said of those that are wrong."""

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.api.chat_request import ChatRequest
from gateway.api.conversation import messages
from gateway.api.refusal import refusal
from gateway.chat.content import Link, TextPart, VideoPart
from gateway.vision.video import MAX_LISTED, Pace
from tests.api.service import body, text

PATH = "messages[0].content[1]"
MP4, FRAME = "data:video/mp4;base64,AAAA", "data:image/png;base64,AAAA"


def read(part: dict[str, Any]) -> VideoPart:
    request = ChatRequest.model_validate(body([text("x"), part]))
    (message,) = messages(request.messages)
    first, video = message.content
    assert first == TextPart("x")
    assert isinstance(video, VideoPart)
    return video


@pytest.mark.parametrize(
    ("part", "video"),
    [
        (
            {"type": "video_url", "video_url": {"url": MP4}},
            VideoPart(Link(MP4, f"{PATH}.video_url.url"), PATH, Pace()),
        ),
        (
            {"type": "video_url", "video_url": {"url": MP4, "detail": "high"}, "fps": 1, "num_frames": 8},
            VideoPart(Link(MP4, f"{PATH}.video_url.url"), PATH, Pace(1.0, 8)),
        ),
        ({"type": "video", "video": MP4}, VideoPart(Link(MP4, f"{PATH}.video"), PATH, Pace())),
        ({"type": "video", "video": [MP4]}, VideoPart(Link(MP4, f"{PATH}.video"), PATH, Pace())),
        (
            {"type": "video", "video": [FRAME, FRAME], "fps": 0.5, "num_frames": None},
            VideoPart(
                (Link(FRAME, f"{PATH}.video[0]"), Link(FRAME, f"{PATH}.video[1]")), PATH, Pace(fps=0.5)
            ),
        ),
    ],
)
def test_a_video_is_written_in_any_of_these_ways(part: dict[str, Any], video: VideoPart) -> None:
    assert read(part) == video


@pytest.mark.parametrize(
    ("part", "code", "param"),
    [
        ({"type": "video_url"}, "missing_required_parameter", "video_url"),
        ({"type": "video_url", "video_url": {}}, "missing_required_parameter", "video_url.url"),
        ({"type": "video_url", "video_url": MP4}, "invalid_type", "video_url"),
        ({"type": "video_url", "video_url": {"url": 5}}, "invalid_type", "video_url.url"),
        ({"type": "video"}, "missing_required_parameter", "video"),
        ({"type": "video", "video": []}, "empty_array", "video"),
        ({"type": "video", "video": 5}, "invalid_type", "video"),
        ({"type": "video", "video": [FRAME, 5]}, "invalid_type", "video[1]"),
        ({"type": "video", "video": [FRAME] * (MAX_LISTED + 1)}, "array_above_max_length", "video"),
        ({"type": "video", "video": MP4, "fps": 0}, "decimal_below_min_value", "fps"),
        ({"type": "video", "video": MP4, "fps": 241}, "decimal_above_max_value", "fps"),
        ({"type": "video", "video": MP4, "fps": "2"}, "invalid_type", "fps"),
        ({"type": "video", "video": MP4, "num_frames": 0}, "integer_below_min_value", "num_frames"),
        ({"type": "video", "video": MP4, "num_frames": 1.5}, "invalid_type", "num_frames"),
    ],
)
def test_a_wrong_field_is_named(part: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(part)
    error = refusal(caught.value)
    assert (error.status, error.code, error.param) == (400, code, f"{PATH}.{param}")
