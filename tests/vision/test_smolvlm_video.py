from typing import Any

import numpy as np
import pytest

from gateway.vision.layout import Tile
from gateway.vision.registry import Registry
from gateway.vision.smolvlm_video import MOST_FRAMES, describe, number_words, taken
from gateway.vision.video import Frame, Pace, Video
from tests.vision import smolvlm_reference
from tests.vision.entries import encoder
from tests.vision.pictures import pattern

WHOLE = "<fake_token_around_image><global-img><image><fake_token_around_image>"


def video(*times_s: float, duration_s: float = 75.9, size: tuple[int, int] = (40, 30)) -> Video:
    frames = [Frame(pattern(size[0] + place, size[1]), time_s) for place, time_s in enumerate(times_s)]
    return Video(tuple(frames), duration_s)


def test_a_video_is_told_with_its_length_and_the_time_of_each_frame() -> None:
    assert describe(video(0.0, 9.99, 61.5), WHOLE) == (
        "You are provided the following series of three frames from a 0:01:15 [H:MM:SS] video.\n"
        f"\nFrame from 00:00:{WHOLE}"
        f"\nFrame from 00:09:{WHOLE}"
        f"\nFrame from 01:01:{WHOLE}"
        "\n\n"
    )


@pytest.mark.parity
@pytest.mark.parametrize("duration_s", [0.4, 59.99, 3600.0, 7325.7, 100_000.0])
@pytest.mark.parametrize("num_frames", [1, 12, 19, 20, 64, MOST_FRAMES])
def test_the_text_of_a_video_is_that_of_transformers(num_frames: int, duration_s: float) -> None:
    times_s = np.linspace(0, duration_s, num_frames).tolist()
    told = video(*times_s, duration_s=duration_s)
    assert describe(told, WHOLE) == smolvlm_reference.video_text(told)


@pytest.mark.parity
def test_number_words_are_those_of_num2words() -> None:
    from num2words import num2words

    numbers = range(MOST_FRAMES + 1)
    assert [number_words(number) for number in numbers] == [num2words(number) for number in numbers]


def test_number_words() -> None:
    told = [number_words(number) for number in (1, 2, 12, 13, 20, 21, 40, 99)]
    assert told == ["one", "two", "twelve", "thirteen", "twenty", "twenty-one", "forty", "ninety-nine"]


@pytest.mark.parametrize("entry", ["smolvlm-512", "smolvlm-512-tiled", "smolvlm-512-2x2"])
def test_every_frame_is_one_tile_however_pictures_are_cut(entry: str) -> None:
    seen = encoder(entry)
    visual = seen.prepare_video(video(0.0, 1.0))
    assert visual.layout.text == describe(video(0.0, 1.0), WHOLE)
    assert visual.layout.tiles == (Tile((8, 8)),) * 2
    assert [pixels.data.shape for pixels in visual.pixels] == [(1, 512, 512, 3)] * 2
    assert visual.pixels[0].digest != visual.pixels[1].digest


def test_frames_of_a_tiles_width_are_only_stretched() -> None:
    """Their longest edge is a tile's already, so what remains is one resize, to the tile."""
    (pixels,) = encoder("smolvlm-512").prepare_video(video(0.0, size=(512, 300))).pixels
    resized = pattern(512, 300).resize((512, 512), 1)
    np.testing.assert_array_equal(pixels.data[0], np.asarray(resized))


@pytest.mark.parametrize(
    ("num_frames", "rate", "pace", "places"),
    [
        (1, 30.0, Pace(), [0]),
        (10, 30.0, Pace(), [0]),
        (90, 30.0, Pace(), [0, 44, 89]),
        (90, 30.0, Pace(fps=2.0), [0, 17, 35, 53, 71, 89]),
        (90, 30.0, Pace(num_frames=2), [0, 89]),
        (3, 1.0, Pace(num_frames=9), [0, 1, 2]),
        (15 * 4, 4.0, Pace(num_frames=3), [4, 30, 56]),  # a second is left out at both ends
        (14 * 4, 4.0, Pace(num_frames=3), [0, 27, 55]),  # but not of a short video
    ],
)
def test_frames_are_taken_evenly(num_frames: int, rate: float, pace: Pace, places: list[int]) -> None:
    assert encoder("smolvlm-512").sample(num_frames, rate, pace) == places


def test_no_more_frames_are_taken_than_the_entry_allows() -> None:
    seen = encoder("smolvlm-512")
    assert [len(seen.sample(10_000, 25.0, pace)) for pace in (Pace(), Pace(9.0), Pace(None, 500))] == [12] * 3


@pytest.mark.parity
def test_the_frames_taken_are_those_of_transformers() -> None:
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor
    from transformers.video_utils import VideoMetadata

    draw = np.random.default_rng(0)
    for _ in range(500):
        num_frames, most = int(draw.integers(1, 3000)), int(draw.integers(1, 65))
        rate, fps = float(draw.uniform(1, 60)), float(draw.uniform(0.2, 4))
        metadata = VideoMetadata(num_frames, fps=rate, duration=num_frames / rate)
        theirs = SmolVLMVideoProcessor.sample_frames(None, metadata, most, fps)
        assert taken(num_frames, rate, fps, None, most) == theirs.tolist()


@pytest.mark.parametrize(
    "spec", [entry.spec for entry in Registry.load().entries if entry.spec.family.startswith("smolvlm")]
)
def test_as_many_frames_as_an_entry_allows_fit_into_the_shortest_published_context(spec: Any) -> None:
    """1023 tokens (SmolVLM-256M): a frame's own, about a dozen for its time, and room for a question."""
    if spec.video is not None:
        side = spec.num_patches // spec.merge_size
        assert spec.video.max_frames * (side**2 + 12) < 1023 - 50
