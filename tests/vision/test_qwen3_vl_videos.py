import json
from pathlib import Path
from typing import Any

import pytest

from gateway.vision.layout import Layout, Span, Tile
from gateway.vision.qwen3_vl import Qwen3VL
from gateway.vision.video import Frame, Pace, Video
from tests.vision import qwen3_vl_reference as reference
from tests.vision.entries import encoder as entry_encoder
from tests.vision.pictures import pattern
from tests.vision.reference import digest

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("qwen3_vl_videos.json").read_text())


def encoder(entry: str = "axgate-demo-96") -> Qwen3VL:
    found = entry_encoder(entry)
    assert isinstance(found, Qwen3VL)
    return found


def video(times_s: list[float]) -> Video:
    frames = tuple(Frame(pattern(50 + place, 40), time_s) for place, time_s in enumerate(times_s))
    return Video(frames, times_s[-1] + 1)


@pytest.mark.parity
def test_the_golden_values_are_what_transformers_gives_today() -> None:
    assert reference.golden() == GOLDEN


@pytest.mark.parametrize("case", reference.SAMPLES)
def test_frames_are_chosen_as_in_transformers(case: tuple[int, float, float]) -> None:
    num_frames, rate, fps = case
    chosen = encoder("qwen3-vl-384").sample(num_frames, rate, Pace(fps or None))
    assert chosen == GOLDEN["samples"][str(case)]


def test_frames_are_chosen_by_number_too() -> None:
    one = encoder("qwen3-vl-384")
    assert one.sample(101, 25.0, Pace(num_frames=5)) == [0, 25, 50, 75, 100]
    assert one.sample(3, 25.0, Pace(num_frames=5)) == [0, 1, 2]
    assert one.sample(101, 25.0, Pace(num_frames=1)) == [0]


@pytest.mark.parametrize("name", reference.TAKEN)
def test_the_text_is_that_of_transformers(name: str) -> None:
    taken, rate = reference.TAKEN[name]
    layout = encoder().prepare_video(video([place / rate for place in taken])).layout
    assert layout.text == GOLDEN["texts"][name]
    assert layout.tiles == (Tile((6, 6)),) * -(-len(taken) // 2)


@pytest.mark.parametrize("entry", GOLDEN["patches"])
def test_patches_are_those_of_transformers(entry: str) -> None:
    frames = [Frame(image, float(place)) for place, image in enumerate(reference.three_frames())]
    visual = encoder(entry).prepare_video(Video(tuple(frames), 3.0))
    assert [digest(pixels.data) for pixels in visual.pixels] == GOLDEN["patches"][entry]


@pytest.mark.parametrize("name", reference.LAYOUTS)
def test_positions_are_those_of_transformers(name: str) -> None:
    spans: list[Span] = []
    place = 0
    for run in reference.LAYOUTS[name]:
        if isinstance(run, int):
            place += run
            continue
        num_groups, num_text, *grid = run if len(run) == 4 else (1, 0, *run)
        for _ in range(num_groups):
            spans.append(Span(place + num_text, Tile((grid[0], grid[1]))))
            place = spans[-1].stop
    positions: Any = encoder().positions(place, spans)
    assert positions.tolist() == GOLDEN["positions"][name]


def test_the_smallest_video_is_one_group() -> None:
    expected = Layout("<0.0 seconds><|vision_start|><|video_pad|><|vision_end|>", (Tile((6, 6)),))
    assert encoder().smallest_video() == expected


def test_a_still_group_is_the_picture_and_shares_its_features() -> None:
    still = Frame(pattern(50, 40), 0.0)
    (pixels,) = encoder().prepare_video(Video((still, still), 1.0)).pixels
    (picture,) = encoder().prepare(pattern(50, 40)).pixels
    assert pixels.digest == picture.digest


def test_every_frame_of_a_group_counts() -> None:
    first = encoder().prepare_video(video([0.0, 0.5])).pixels[0].digest
    second = encoder().prepare_video(video([0.0, 0.5, 1.0])).pixels
    assert (second[0].digest == first, second[1].digest == first) == (True, False)


def test_a_marker_without_the_placeholder_is_refused() -> None:
    spec = encoder().spec
    assert spec.video is not None
    wrong = spec.model_copy(update={"video": spec.video.model_copy(update={"marker": "<video>"})})
    with pytest.raises(ValueError, match=r"^field 'video.marker': expected one <\|video_pad\|> in it, got"):
        _ = wrong.inputs
