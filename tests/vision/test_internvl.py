import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backends.base import Array, PackageError, TensorSpec
from gateway.errors import EngineFailure
from gateway.vision.internvl import InternVL, InternVLSpec, best_grid
from gateway.vision.layout import Tile
from gateway.vision.registry import Registry
from gateway.vision.video import Frame, Pace, Video
from tests.vision import internvl_reference
from tests.vision.entries import encoder as entry_encoder
from tests.vision.graphs import StandIn
from tests.vision.pictures import pattern
from tests.vision.reference import digest

GOLDEN: dict[str, str] = json.loads((Path(__file__).parent / "golden" / "internvl_tiles.json").read_text())
DEMO = "axgate-demo-internvl-96"
U8, F32 = 0, 1
HIDDEN = 8


def encoder(entry: str = DEMO, which_input: int = U8) -> InternVL:
    found = entry_encoder(entry, which_input)
    assert isinstance(found, InternVL)
    return found


def changed(entry: str = DEMO, **changes: Any) -> InternVL:
    """The encoder of an entry with other numbers."""
    spec = InternVLSpec.model_validate(encoder(entry).spec.model_dump() | changes)
    return InternVL("changed", spec, spec.inputs[U8])


def embeds(num_tokens: int = 36, value: float = 1.0, hidden: int = HIDDEN) -> Array:
    return np.full((1, num_tokens, hidden), value, dtype=np.float32)


def graph(array: Array) -> StandIn:
    return StandIn(encoder().graph_input, features=array)


def video(*sizes: tuple[int, int]) -> Video:
    return Video(tuple(Frame(pattern(*size), float(time)) for time, size in enumerate(sizes)), len(sizes))


@pytest.mark.parametrize("name", GOLDEN)
def test_tiles_are_those_of_transformers(name: str) -> None:
    entry, size, dtype = name.split()
    width, height = map(int, size.split("x"))
    found = encoder(entry, U8 if dtype == "uint8" else F32).prepare(pattern(width, height))
    tiles = np.concatenate([pixels.data for pixels in found.pixels])
    assert digest(tiles.transpose(0, 3, 1, 2) if dtype == "uint8" else tiles) == GOLDEN[name]


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
def test_the_golden_digests_are_those_of_transformers() -> None:
    assert internvl_reference.digests() == GOLDEN


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("which_input", [U8, F32])
@pytest.mark.parametrize("size", [(33, 57), (700, 500)])
def test_every_value_equals_that_of_transformers(size: tuple[int, int], which_input: int) -> None:
    tiled = encoder("internvl-448-tiled", which_input)
    tiles = np.concatenate([pixels.data for pixels in tiled.prepare(pattern(*size)).pixels])
    wanted = internvl_reference.pixel_values(pattern(*size), tiled.spec, tiled.graph_input.dtype)
    given = wanted if which_input == F32 else wanted.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(tiles, given, strict=True)


@pytest.mark.parity
@pytest.mark.parametrize(("min_tiles", "max_tiles"), [(1, 12), (1, 1), (1, 6), (2, 4), (3, 40)])
def test_grids_are_those_of_transformers(min_tiles: int, max_tiles: int) -> None:
    from transformers.models.got_ocr2 import image_processing_pil_got_ocr2 as theirs

    random = np.random.default_rng(0).integers(1, 3000, (300, 2)).tolist()
    halves = [(448 * width // 2, 448 * height // 2) for width in range(1, 9) for height in range(1, 9)]
    for width, height in [*random, *halves]:
        wanted = theirs.get_optimal_tiled_canvas((height, width), (448, 448), min_tiles, max_tiles)
        assert best_grid((width, height), 448, min_tiles, max_tiles) == wanted


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((640, 480), (4, 3)),
        ((480, 640), (3, 4)),
        ((4000, 10), (12, 1)),
        ((448, 448), (1, 1)),
        ((634, 634), (2, 2)),
        ((951, 951), (3, 3)),
        ((896, 448), (2, 1)),
        ((1268, 634), (4, 2)),
    ],
)
def test_of_grids_as_near_the_largest_with_enough_pixels_is_chosen(
    size: tuple[int, int], grid: tuple[int, int]
) -> None:
    assert best_grid(size, 448, 1, 12) == grid


def test_several_tiles_are_followed_by_the_whole_picture() -> None:
    tiled, picture = encoder("internvl-448-tiled"), pattern(900, 460)
    visual = tiled.prepare(picture)
    assert visual.layout.text == "<img><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT></img>"
    assert visual.layout.tiles == (Tile((16, 16)),) * 3
    left, right, whole = (pixels.data[0] for pixels in visual.pixels)
    canvas = np.asarray(picture.resize((896, 448), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(np.concatenate([left, right], axis=1), canvas)
    np.testing.assert_array_equal(whole, picture.resize((448, 448), Image.Resampling.BICUBIC))


def test_without_a_thumbnail_there_are_only_tiles() -> None:
    plain = changed("internvl-448-tiled", use_thumbnail=False)
    assert len(plain.prepare(pattern(900, 460)).pixels) == 2
    assert (len(plain.smallest.tiles), len(plain.largest.tiles)) == (1, 12)


def test_one_tile_has_no_thumbnail() -> None:
    visual = encoder("internvl-448-tiled").prepare(pattern(50, 50))
    assert (visual.layout.text, len(visual.pixels)) == ("<img><IMG_CONTEXT></img>", 1)


@pytest.mark.parametrize(
    ("entry", "changes", "fewest", "most"),
    [
        ("internvl-448", {}, 256, 256),
        ("internvl-448-tiled", {}, 256, 13 * 256),
        ("internvl-448-tiled", {"max_tiles": 4}, 256, 5 * 256),
        ("internvl-448-tiled", {"min_tiles": 2, "max_tiles": 4}, 3 * 256, 5 * 256),
        (DEMO, {}, 36, 36),
    ],
)
def test_pictures_take_as_many_tokens_as_an_entry_says(
    entry: str, changes: dict[str, Any], fewest: int, most: int
) -> None:
    found = changed(entry, **changes)
    assert (found.smallest.num_tokens, found.largest.num_tokens) == (fewest, most)
    taken = {found.prepare(pattern(*size)).layout for size in [(9, 9), (4000, 10), (10, 4000), (800, 600)]}
    assert found.smallest.num_tokens <= min(layout.num_tokens for layout in taken)
    assert found.largest in taken


def test_a_frame_is_one_tile_on_a_line_of_its_own() -> None:
    tiled = encoder("internvl-448-tiled")
    visual = tiled.prepare_video(video((900, 460), (50, 50)))
    assert visual.layout.text == ("Frame1: <img><IMG_CONTEXT></img>\nFrame2: <img><IMG_CONTEXT></img>")
    assert visual.layout.tiles == (Tile((16, 16)),) * 2
    single = encoder("internvl-448")
    for pixels, size in zip(visual.pixels, [(900, 460), (50, 50)], strict=True):
        np.testing.assert_array_equal(pixels.data, single.prepare(pattern(*size)).pixels[0].data)


@pytest.mark.parity
@pytest.mark.parametrize("num_frames", [1, 2, 4])
def test_frames_are_written_as_transformers_writes_them(num_frames: int) -> None:
    from transformers import InternVLProcessor

    words = SimpleNamespace(
        start_image_token="<img>",
        end_image_token="</img>",
        image_token="<IMG_CONTEXT>",
        image_seq_length=1,
    )
    frames = {"pixel_values_videos": [np.zeros((num_frames, 3, 1, 1))]}
    wanted = InternVLProcessor.replace_video_token(words, frames, 0)
    assert encoder("internvl-448").prepare_video(video(*[(9, 9)] * num_frames)).layout.text == wanted


@pytest.mark.parametrize(
    ("num_frames", "pace", "taken"),
    [
        (8, Pace(num_frames=4), [1, 3, 5, 7]),
        (100, Pace(num_frames=3), [16, 50, 83]),
        (100, Pace(fps=0.2), [25, 75]),
        (3, Pace(num_frames=4), [0, 1, 2]),
        (1, Pace(), [0]),
        (1000, Pace(), [125, 375, 625, 875]),
    ],
)
def test_frames_are_taken_from_the_middle_of_their_shares(
    num_frames: int, pace: Pace, taken: list[int]
) -> None:
    assert encoder("internvl-448").sample(num_frames, 10.0, pace) == taken


@pytest.mark.parity
def test_frames_are_those_that_transformers_takes() -> None:
    """internvl/video_processing_internvl.py, sample_frames; importing that file needs torchvision."""
    import torch

    for number in (1, 2, 3, 4):
        for num_frames in range(number, 200):
            step = num_frames / number
            wanted = torch.arange(step / 2, num_frames, step).int().tolist()
            pace = Pace(num_frames=number)
            assert encoder("internvl-448").sample(num_frames, 10.0, pace) == wanted, (num_frames, number)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"image_size": 100},
            "field 'image_size': expected a multiple of patch_size * merge_size (16), got 100",
        ),
        ({"min_tiles": 2}, "field 'max_tiles': expected at least min_tiles (2), got 1"),
    ],
)
def test_numbers_that_do_not_go_together_are_named(changes: dict[str, Any], sentence: str) -> None:
    spec = encoder().spec.model_copy(update=changes)
    with pytest.raises(ValueError, match="field") as failure:
        _ = spec.inputs
    assert str(failure.value) == sentence


@pytest.mark.parametrize("entry", ["internvl-448", DEMO])
@pytest.mark.parametrize("which_input", [U8, F32])
def test_the_input_of_the_graph_tells_how_pixels_are_prepared(entry: str, which_input: int) -> None:
    wanted = encoder(entry, which_input)
    found = Registry.load().find("qwen3", wanted.graph_input)
    assert (found.name, found.graph_input) == (entry, wanted.graph_input)
    (pixels,) = found.prepare(pattern(50, 40)).pixels
    assert TensorSpec("pixel_values", str(pixels.data.dtype), pixels.data.shape) == wanted.graph_input


def test_tiling_is_chosen_by_name() -> None:
    graph_input = encoder("internvl-448").graph_input
    found = Registry.load(prefer=["internvl-448-tiled"]).find("qwen2", graph_input)
    assert found.name == "internvl-448-tiled"


@pytest.mark.parametrize(
    ("outputs", "found"),
    [
        ({"features": embeds(35)}, "features [1, 35, 8]"),
        ({"features": embeds(hidden=6)}, "features [1, 36, 6]"),
        ({"features": embeds().reshape(1, -1)}, "features [1, 288]"),
        ({"one": embeds(), "two": embeds()}, "one [1, 36, 8], two [1, 36, 8]"),
    ],
)
def test_a_graph_of_another_size_is_refused(outputs: dict[str, Array], found: str) -> None:
    with pytest.raises(PackageError) as failure:
        encoder().check(StandIn(encoder().graph_input, **outputs), HIDDEN)
    assert str(failure.value) == (
        f"The vision graph's outputs are {found}, expected one of [36, 8], the tokens of one run by the "
        "hidden size."
    )


@pytest.mark.parametrize("array", [embeds(), embeds()[0], embeds().astype(np.float16)])
def test_features_are_the_rows_of_the_only_output(array: Array) -> None:
    vision, (pixels,) = graph(array), encoder().prepare(pattern(50, 40)).pixels
    encoder().check(vision, HIDDEN)
    features = encoder().encode(vision, pixels)
    np.testing.assert_array_equal(features.embeds, embeds()[0], strict=True)
    assert features.deepstack == ()
    np.testing.assert_array_equal(vision.fed["pixel_values"], pixels.data)


def test_features_that_are_no_numbers_are_an_engine_failure() -> None:
    (pixels,) = encoder().prepare(pattern(50, 40)).pixels
    with pytest.raises(EngineFailure, match="not finite"):
        encoder().encode(graph(embeds(value=np.inf)), pixels)
