import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.base import Array, PackageError
from gateway.errors import EngineFailure
from gateway.vision.layout import Layout, Span, Tile
from gateway.vision.qwen2_vl import Qwen2VL, Qwen2VLSpec
from gateway.vision.video import Frame, Pace, Video
from tests.vision import qwen2_vl_reference, reference
from tests.vision.entries import encoder as entry_encoder
from tests.vision.graphs import StandIn
from tests.vision.pictures import pattern

GOLDEN = Path(__file__).with_name("golden")
HIDDEN = 8
PAD = "<|video_pad|>"


def encoder(entry: str = "qwen2.5-vl-308") -> Qwen2VL:
    found = entry_encoder(entry)
    assert isinstance(found, Qwen2VL)
    return found


def golden(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


def video(num_frames: int, duration_s: float) -> Video:
    frames = [Frame(pattern(40 + place, 30), place * duration_s / num_frames) for place in range(num_frames)]
    return Video(tuple(frames), duration_s)


def tiny(grid: list[int], tokens_per_second: int | None) -> Qwen2VL:
    """An encoder for as many rows and columns of tokens."""
    rows, columns = grid
    values = encoder("qwen2-vl-448").spec.model_dump() | {
        "patch_size": 1,
        "height": 2 * rows,
        "width": 2 * columns,
        "tokens_per_second": tokens_per_second,
    }
    spec = Qwen2VLSpec.model_validate(values)
    return Qwen2VL("tiny", spec, spec.inputs[0])


def layout_positions(layout: list[Any], tokens_per_second: int | None) -> list[list[int]]:
    """Of a prompt whose videos are prepared, to be told their times."""
    spans: list[Span] = []
    place = 0
    for run in layout:
        if isinstance(run, int):
            place += run
            continue
        tiles: tuple[Tile, ...] = (Tile((run[0], run[1])),)
        if len(run) > 2:
            prepared = tiny(run[1:3], tokens_per_second).prepare_video(video(run[0], run[3]))
            tiles = prepared.layout.tiles
        for tile in tiles:
            spans.append(Span(place, tile))
            place = spans[-1].stop
    return [list(map(int, row)) for row in encoder().positions(place, spans)]


@pytest.mark.parametrize("case", golden("positions_qwen2.json"))
def test_positions_are_those_of_transformers(case: str) -> None:
    family, name = case.split(", ")
    layout = (reference.LAYOUTS | reference.VIDEO_LAYOUTS)[name]
    tokens_per_second = {"qwen2_vl": None, "qwen2_5_vl": 2}[family]
    assert layout_positions(layout, tokens_per_second) == golden("positions_qwen2.json")[case]


@pytest.mark.parity
def test_golden_positions_are_what_transformers_gives_today() -> None:
    assert reference.positions_qwen2() == golden("positions_qwen2.json")


@pytest.mark.parametrize("entry", ["qwen2.5-vl-448", "qwen2.5-vl-308", "qwen2-vl-448"])
def test_published_entries_take_what_published_graphs_take(entry: str) -> None:
    side = int(entry[-3:])
    (taken,) = encoder(entry).spec.inputs
    assert (taken.dtype, taken.shape) == ("uint8", (1, (side // 14) ** 2, 392, 3))
    assert encoder(entry).largest == Layout("<|image_pad|>", (Tile((side // 28, side // 28)),))
    assert encoder(entry).spec.tokens_per_second == (2 if "2.5" in entry else None)


def test_two_frames_are_a_tile_and_the_last_is_repeated() -> None:
    visual = encoder().prepare_video(Video(qwen2_vl_reference.FRAMES, 2.5))
    assert visual.layout == Layout(
        PAD * 3,
        (Tile((11, 11)), Tile((11, 11), time=2, continues=True), Tile((11, 11), time=4, continues=True)),
    )


@pytest.mark.parametrize("entry", golden("qwen2_vl_videos.json")["patches"])
def test_patches_of_videos_are_those_of_transformers(entry: str) -> None:
    visual = encoder(entry).prepare_video(Video(qwen2_vl_reference.FRAMES, 2.5))
    digests = [reference.digest(pixels.data) for pixels in visual.pixels]
    assert digests == golden("qwen2_vl_videos.json")["patches"][entry]


@pytest.mark.parametrize("case", qwen2_vl_reference.SAMPLES)
def test_frames_are_chosen_as_in_transformers(case: tuple[int, float, float, int]) -> None:
    num_frames, rate, fps, number = case
    chosen = encoder().sample(num_frames, rate, Pace(fps or None, number or None))
    assert chosen == golden("qwen2_vl_videos.json")["samples"][str(case)]


def test_more_frames_than_the_entry_allows_are_never_taken() -> None:
    assert encoder().sample(100, 10.0, Pace(num_frames=50)) == encoder().sample(100, 10.0, Pace(num_frames=8))
    assert len(encoder().sample(100, 10.0, Pace(fps=10.0))) == 8


def test_something_is_taken_of_every_video() -> None:
    assert encoder().sample(1, 10.0, Pace()) == [0]
    assert encoder().sample(50, 10.0, Pace(num_frames=1)) == [0, 25]


@pytest.mark.parity
def test_golden_videos_are_what_transformers_gives_today() -> None:
    assert qwen2_vl_reference.golden() == golden("qwen2_vl_videos.json")


def test_a_still_video_is_the_picture_and_shares_its_features() -> None:
    still = Video((Frame(pattern(50, 40), 0.0),), 0.0)
    (pixels,) = encoder().prepare_video(still).pixels
    (picture,) = encoder().prepare(pattern(50, 40)).pixels
    assert pixels.digest == picture.digest


def test_time_moves_by_groups_where_the_entry_has_no_tokens_per_second() -> None:
    tiles = encoder("qwen2-vl-448").prepare_video(video(6, 60)).layout.tiles
    assert [(tile.time, tile.continues) for tile in tiles] == [(0, False), (1, True), (2, True)]


def test_the_one_output_is_the_embeds_whatever_it_is_called() -> None:
    rows: Array = np.arange(121 * HIDDEN, dtype=np.float32).reshape(1, 121, HIDDEN)
    graph = StandIn(encoder().graph_input, anything=rows)
    encoder().check(graph, HIDDEN)
    (pixels,) = encoder().prepare(pattern(50, 40)).pixels
    features = encoder().encode(graph, pixels)
    np.testing.assert_array_equal(features.embeds, rows[0], strict=True)
    assert features.deepstack == ()
    np.testing.assert_array_equal(graph.fed["hidden_states"], pixels.data)


def test_deepstack_outputs_are_refused() -> None:
    rows = np.zeros((121, HIDDEN), np.float32)
    graph = StandIn(encoder().graph_input, hidden_states_out=rows, deepstack_feature_0=rows)
    with pytest.raises(PackageError, match=r"expected one of \[121, 8\]"):
        encoder().check(graph, HIDDEN)


def test_features_that_are_no_numbers_are_an_engine_failure() -> None:
    graph = StandIn(encoder().graph_input, hidden_states_out=np.full((121, HIDDEN), np.nan, np.float32))
    (pixels,) = encoder().prepare(pattern(50, 40)).pixels
    with pytest.raises(EngineFailure, match="not finite"):
        encoder().encode(graph, pixels)
