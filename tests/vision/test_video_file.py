import struct
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.errors import InvalidVideo
from gateway.vision.video import Sampler, Video, VideoLimits, spread
from gateway.vision.video_file import open_video
from tests.vision.pictures import pattern
from tests.vision.videos import animation, greys, places, sound_file, turned, video_file

LIMITS = VideoLimits(max_pixels=1_000_000)
KINDS = [("mp4", "libx264"), ("mp4", "mpeg4"), ("webm", "libvpx-vp9"), ("matroska", "libx264")]


def every(num_frames: int, rate: float) -> Sequence[int]:
    return range(num_frames)


def opened(data: bytes, sample: Sampler = every, limits: VideoLimits = LIMITS) -> Video:
    return open_video(data, sample, limits)


def refusal(data: bytes, limits: VideoLimits = LIMITS) -> str:
    with pytest.raises(InvalidVideo) as error:
        opened(data, limits=limits)
    assert (error.value.status, error.value.code, error.value.param) == (400, "invalid_video_format", None)
    return error.value.message


def shown(video: Video) -> list[int]:
    assert all(frame.image.mode == "RGB" for frame in video.frames)
    return places([frame.image for frame in video.frames])


def times(video: Video) -> list[float]:
    return [round(frame.time_s, 3) for frame in video.frames]


UNSUPPORTED = (
    "You uploaded an unsupported video. Please make sure your video is valid and has one of the following "
    "formats: ['mp4', 'mov', 'webm', 'mkv', 'gif', 'png', 'webp']."
)
TRUNCATED = "The video is truncated: its header promises more than there is in the file."


@pytest.mark.parametrize(("format", "codec"), KINDS)
def test_all_frames_come_in_order_with_their_times(format: str, codec: str) -> None:
    video = opened(video_file(greys(25), format=format, codec=codec))
    assert shown(video) == list(range(25))
    assert times(video) == [place / 10 for place in range(25)]
    assert video.duration_s == pytest.approx(2.5)


@pytest.mark.parametrize(("format", "codec"), KINDS)
@pytest.mark.parametrize("chosen", [[0], [24], [3, 4, 17], [9, 10, 11], [0, 12, 24]])
def test_the_chosen_frames_are_taken(format: str, codec: str, chosen: list[int]) -> None:
    video = opened(video_file(greys(25), format=format, codec=codec), lambda number, rate: chosen)
    assert shown(video) == chosen
    assert times(video) == [place / 10 for place in chosen]


def test_who_chooses_is_told_how_many_frames_there_are_and_how_fast_they_follow() -> None:
    told: list[tuple[float, float]] = []

    def sample(num_frames: int, rate: float) -> list[int]:
        told.append((num_frames, rate))
        return [0]

    opened(video_file(greys(25)), sample)
    assert told == [pytest.approx((25, 10))]


def test_a_variable_frame_rate_gives_true_times() -> None:
    moments = [0, 1, 2, 20, 21, 50]
    video = opened(video_file(greys(6), moments))
    assert times(video) == [moment / 10 for moment in moments]
    assert shown(video) == list(range(6))


def test_times_count_from_the_first_frame() -> None:
    assert times(opened(video_file(greys(3), [40, 41, 42], format="matroska"))) == [0, 0.1, 0.2]


def test_a_video_of_one_frame() -> None:
    video = opened(video_file(greys(1)))
    assert (shown(video), times(video)) == ([0], [0])
    assert video.duration_s == pytest.approx(0.1)


@pytest.mark.parametrize("size", [(63, 47), (2, 2), (17, 300)])
def test_odd_sizes_stay(size: tuple[int, int]) -> None:
    video = opened(video_file(greys(3, size)))
    assert [frame.image.size for frame in video.frames] == [size] * 3
    assert shown(video) == [0, 1, 2]


@pytest.mark.parametrize(
    ("right", "down", "undo"),
    [
        ((1, 0), (0, 1), None),
        ((0, 1), (-1, 0), Image.Transpose.ROTATE_90),  # a telephone held upright
        ((-1, 0), (0, -1), Image.Transpose.ROTATE_180),
        ((0, -1), (1, 0), Image.Transpose.ROTATE_270),
        ((-1, 0), (0, 1), Image.Transpose.FLIP_LEFT_RIGHT),
        ((1, 0), (0, -1), Image.Transpose.FLIP_TOP_BOTTOM),
        ((0, 1), (1, 0), Image.Transpose.TRANSPOSE),
        ((0, -1), (-1, 0), Image.Transpose.TRANSVERSE),
    ],
)
def test_videos_are_turned_upright(
    right: tuple[int, int], down: tuple[int, int], undo: Image.Transpose | None
) -> None:
    """The stored picture is the upright one with the turn of the display matrix undone."""
    upright = Image.new("RGB", (64, 32))
    for place, colour in enumerate(["red", "lime", "blue", "white"]):
        upright.paste(colour, (place % 2 * 32, place // 2 * 16, place % 2 * 32 + 32, place // 2 * 16 + 16))
    stored = upright.transpose(undo) if undo is not None else upright
    (frame,) = opened(turned(video_file([stored]), right, down)).frames
    assert frame.image.size == (64, 32)
    difference = np.asarray(frame.image).astype(int) - np.asarray(upright).astype(int)
    assert np.abs(difference).mean() < 8


def test_frames_together_are_no_larger_than_the_largest_picture() -> None:
    limits = VideoLimits(max_pixels=64 * 48 * 3)
    file = video_file(greys(12))
    few, many = opened(file, lambda number, rate: [0, 5, 11], limits), opened(file, limits=limits)
    assert [frame.image.size for frame in few.frames] == [(64, 48)] * 3
    assert [frame.image.size for frame in many.frames] == [(32, 24)] * 12
    assert shown(many) == list(range(12))


def test_frames_larger_than_the_limit_are_refused() -> None:
    assert refusal(video_file(greys(2)), VideoLimits(64 * 48 - 1)) == (
        "The video is too large: 64 x 48 is 3072 pixels, more than 3071."
    )
    assert len(opened(video_file(greys(1)), limits=VideoLimits(64 * 48)).frames) == 1


def test_a_video_of_ten_hours_is_refused_before_it_is_read() -> None:
    file = video_file(greys(2), [0, 10 * 3600], fps=1)
    start = time.process_time()
    assert refusal(file) == "The video is too long: 36001 seconds, more than 3600."
    assert time.process_time() - start < 0.5


def promising(file: bytes, duration_s: float) -> bytes:
    """A WebM file that says another duration, in milliseconds (RFC 9559, Duration)."""
    place = file.index(b"\x44\x89\x88") + 3
    return file[:place] + struct.pack(">d", duration_s * 1000) + file[place + 8 :]


def test_a_video_of_ten_hours_that_says_nothing_of_it_is_refused_too() -> None:
    """As a browser records: without the duration in the header."""
    file = video_file(greys(2), [0, 10 * 3600], fps=1, format="webm", codec="libvpx-vp9")
    assert refusal(promising(file, 0)).startswith("The video is too long: 3600")


def test_a_video_that_only_says_that_it_takes_ten_hours_is_refused_for_that() -> None:
    file = video_file(greys(2), format="webm", codec="libvpx-vp9")
    assert refusal(promising(file, 36000)) == "The video is too long: 36000 seconds, more than 3600."


def test_a_long_video_is_not_decoded_from_end_to_end() -> None:
    """But only from the key frame before each frame that is taken."""
    file = video_file([pattern(320, 240)] * 900, fps=1, gop=20, codec="mpeg4")
    start = time.process_time()
    video = opened(file, lambda number, rate: spread(number, 4))
    sampled_s = time.process_time() - start
    assert times(video) == [0, 300, 599, 899]
    start = time.process_time()
    opened(file, limits=VideoLimits(10**9))
    assert sampled_s < (time.process_time() - start) / 4


def test_decoding_is_limited_in_time() -> None:
    file = video_file([pattern(320, 240)] * 400, gop=400)
    start = time.monotonic()
    assert refusal(file, VideoLimits(10**9, timeout_s=0.05)).startswith(
        "The video takes too long to decode: more than 0.05 seconds. "
    )
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(("format", "codec"), KINDS)
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5])
def test_a_truncated_video_is_refused(format: str, codec: str, part: float) -> None:
    data = video_file([pattern(64, 48)] * 60, format=format, codec=codec, gop=5)
    assert refusal(data[: int(len(data) * part)]) in (UNSUPPORTED, TRUNCATED, "The video has no frames.")


def test_a_video_that_lacks_its_last_frames_is_refused_whichever_are_taken() -> None:
    file = video_file([pattern(64, 48)] * 60, gop=5, movflags="frag_keyframe+empty_moov+skip_trailer")
    assert len(opened(file, lambda number, rate: [0]).frames) == 1
    with pytest.raises(InvalidVideo) as error:
        opened(file[: len(file) - 40], lambda number, rate: [0])
    assert error.value.message == TRUNCATED


def test_sound_alone_is_refused() -> None:
    assert refusal(sound_file()) == "The file has no video in it."


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(range(256)) * 8,
        PLAYLIST,
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"%PDF-1.4\n%%EOF",
        video_file(greys(2), format="mpegts"),
        video_file(greys(2), format="avi", codec="mpeg4"),
    ],
    ids=["nothing", "noise", "HLS", "concat", "pdf", "MPEG-TS", "AVI"],
)
def test_what_is_no_video_is_refused(data: bytes) -> None:
    assert refusal(data) == UNSUPPORTED


def test_without_the_library_the_refusal_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install 'axgate[video]'" in refusal(video_file(greys(2)))
    assert len(opened(animation(greys(2))).frames) == 2


def test_the_bytes_decide_what_it_is() -> None:
    assert times(opened(animation(greys(3)))) == [0, 0.5, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([video_file(greys(6), format=format, codec=codec) for format, codec in KINDS]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20),
)
def test_damaged_bytes_give_a_video_or_a_refusal(file: bytes, damage: list[tuple[float, int]]) -> None:
    data = bytearray(file)
    for place, value in damage:
        data[int(place * len(data))] = value
    with suppress(InvalidVideo):
        assert opened(bytes(data)).frames
