import struct
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.errors import InvalidVideo
from gateway.vision.animation import read_animation
from gateway.vision.image import MAX_EDGE
from gateway.vision.video import Sampler, Video, VideoLimits
from tests.vision.pictures import encoded, pattern, pixels
from tests.vision.videos import animation, greys, places

LIMITS = VideoLimits(max_pixels=1_000_000)
FORMATS = ["GIF", "PNG", "WEBP"]
RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)


def every(num_frames: int, rate: float) -> Sequence[int]:
    return range(num_frames)


def read(data: bytes, sample: Sampler = every, limits: VideoLimits = LIMITS) -> Video:
    return read_animation(data, sample, limits)


def refusal(data: bytes, limits: VideoLimits = LIMITS) -> str:
    with pytest.raises(InvalidVideo) as error:
        read(data, limits=limits)
    assert (error.value.status, error.value.code, error.value.param) == (400, "invalid_video_format", None)
    return error.value.message


def times(video: Video) -> list[float]:
    return [round(frame.time_s, 3) for frame in video.frames]


@pytest.mark.parametrize("format", FORMATS)
def test_frames_come_with_the_times_that_the_file_gives_them(format: str) -> None:
    durations = [200, 1000, 300, 40]
    video = read(animation(greys(4), format, durations, lossless=True))
    assert places([frame.image for frame in video.frames]) == [0, 1, 2, 3]
    assert times(video) == [0, 0.2, 1.2, 1.5]
    assert video.duration_s == pytest.approx(1.54)


@pytest.mark.parametrize("format", FORMATS)
def test_the_chosen_frames_are_taken_and_who_chooses_is_told_how_many_there_are(format: str) -> None:
    told: list[tuple[float, float]] = []

    def sample(num_frames: int, rate: float) -> list[int]:
        told.append((num_frames, rate))
        return [1, 4]

    video = read(animation(greys(6), format, 250, lossless=True), sample)
    assert places([frame.image for frame in video.frames]) == [1, 4]
    assert times(video) == [0.25, 1.0]
    assert told == [pytest.approx((6, 4))]


@pytest.mark.parametrize("format", [*FORMATS, "JPEG"])
def test_a_still_picture_is_no_video(format: str) -> None:
    with pytest.raises(InvalidVideo, match=r"The video is a still picture: send it as an image_url\."):
        read(encoded(Image.new("RGB", (9, 7), WHITE), format))


def test_frames_without_a_duration_take_as_long_as_in_browsers() -> None:
    assert times(read(animation(greys(4), "GIF", [0, 10, 20, 0]))) == [0, 0.1, 0.2, 0.22]


def test_frames_are_whole_where_the_file_holds_what_changes() -> None:
    first, second = Image.new("RGB", (40, 30), RED), Image.new("RGB", (40, 30), RED)
    second.paste(GREEN, (10, 10, 12, 12))
    for format in FORMATS:
        shown = [frame.image for frame in read(animation([first, second], format, lossless=True)).frames]
        assert [image.size for image in shown] == [(40, 30)] * 2
        assert [image.getpixel((0, 0)) for image in shown] == [RED, RED]
        assert [image.getpixel((10, 10)) for image in shown] == [RED, GREEN]


def test_transparency_shows_white() -> None:
    frames = [Image.new("RGBA", (3, 2), (255, 0, 0, alpha)) for alpha in (0, 255)]
    video = read(animation(frames, "PNG"))
    assert [pixels(frame.image)[0][0] for frame in video.frames] == [WHITE, RED]


def test_the_picture_for_viewers_without_animations_is_no_frame() -> None:
    file = animation([Image.new("RGB", (4, 4), WHITE), *greys(2, (4, 4))], "PNG", default_image=True)
    assert places([frame.image for frame in read(file).frames]) == [0, 1]


def test_frames_together_are_no_larger_than_the_largest_picture() -> None:
    video = read(animation(greys(4)), limits=VideoLimits(64 * 48))
    assert [frame.image.size for frame in video.frames] == [(32, 24)] * 4


def test_the_limits_are_told() -> None:
    file = animation(greys(3), duration=60_000)
    assert refusal(file, VideoLimits(3071)) == (
        "The video is too large: 64 x 48 is 3072 pixels, more than 3071."
    )
    assert refusal(file, VideoLimits(10**6, max_duration_s=179)) == (
        "The video is too long: 180 seconds, more than 179."
    )
    assert len(read(file, limits=VideoLimits(10**6, max_duration_s=180)).frames) == 3


def test_a_frame_that_is_a_line_is_refused() -> None:
    file = animation([Image.new("RGB", (1, MAX_EDGE + 1))], "PNG")
    assert refusal(file, VideoLimits(10**6)) == (
        "The video is too large: 1 x 65536 has an edge of more than 65535 pixels."
    )


def test_decoding_is_limited_in_time() -> None:
    file = animation([pattern(400 + place % 2, 400).resize((400, 400)) for place in range(20)], "PNG")
    start = time.monotonic()
    assert "more than 0.001 seconds" in refusal(file, VideoLimits(10**9, timeout_s=0.001))
    assert time.monotonic() - start < 0.1


def test_a_frame_larger_than_the_screen_counts() -> None:
    data = bytearray(animation(greys(2, (4, 4))))
    last = data.rindex(b",\0\0\0\0\4\0\4\0")
    data[last + 5 : last + 9] = struct.pack("<HH", 60_000, 60_000)
    assert refusal(bytes(data))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_a_truncated_animation_is_refused(format: str, part: float) -> None:
    data = animation([pattern(64 + place, 48).crop((0, 0, 64, 48)) for place in range(4)], format)
    assert refusal(data[: int(len(data) * part)]) == (
        "The animated picture cannot be read: it is damaged or truncated, or too large."
    )


def test_the_filters_of_warnings_are_as_before() -> None:
    filters = list(warnings.filters)
    read(animation(greys(2)))
    refusal(b"GIF8")
    assert list(warnings.filters) == filters


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([animation(greys(3, (16, 12)), format) for format in FORMATS]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_damaged_bytes_give_frames_or_a_refusal(file: bytes, damage: list[tuple[float, int]]) -> None:
    data = bytearray(file)
    for place, value in damage:
        data[int(place * len(data))] = value
    with suppress(InvalidVideo):
        assert read(bytes(data)).frames
