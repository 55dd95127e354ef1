import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.base import Array, PackageError, TensorSpec
from gateway.errors import EngineFailure
from gateway.vision.layout import Tile
from gateway.vision.registry import Registry
from gateway.vision.smolvlm import SmolVLM, covered, scaled
from tests.vision import smolvlm_reference
from tests.vision.entries import encoder as entry_encoder
from tests.vision.graphs import StandIn
from tests.vision.pictures import pattern
from tests.vision.reference import digest

GOLDEN: dict[str, str] = json.loads((Path(__file__).parent / "golden" / "smolvlm_tiles.json").read_text())
DEMO = "axgate-demo-smolvlm-96"
U8, U8_CHANNELS_FIRST, F32 = 0, 1, 2
HIDDEN = 8
WHOLE = "<fake_token_around_image><global-img><image><fake_token_around_image>"


def encoder(entry: str = DEMO, which_input: int = U8) -> SmolVLM[Any]:
    found = entry_encoder(entry, which_input)
    assert isinstance(found, SmolVLM)
    return found


def tiles(entry: str, width: int, height: int, which_input: int) -> Array:
    visual = encoder(entry, which_input).prepare(pattern(width, height))
    assert len(visual.layout.tiles) == len(visual.pixels)
    return np.concatenate([pixels.data for pixels in visual.pixels])


def case(name: str) -> tuple[str, int, int]:
    entry, size = name.split()
    width, height = map(int, size.split("x"))
    return entry, width, height


@pytest.mark.parametrize("name", GOLDEN)
def test_normalised_tiles_are_those_of_transformers(name: str) -> None:
    assert digest(tiles(*case(name), F32)) == GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_uint8_tiles_are_the_same_before_normalisation(name: str) -> None:
    pixels = tiles(*case(name), U8).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(tiles(*case(name), U8_CHANNELS_FIRST), pixels)
    shares = pixels * (1 / 255)
    assert digest((shares.astype(np.float32) - np.float32(0.5)) / np.float32(0.5)) == GOLDEN[name]


@pytest.mark.parity
@pytest.mark.parametrize("name", GOLDEN)
def test_the_golden_hashes_are_those_of_transformers(name: str) -> None:
    entry, width, height = case(name)
    values = smolvlm_reference.pixel_values(pattern(width, height), encoder(entry).spec)
    assert digest(values) == GOLDEN[name]


@pytest.mark.parity
@pytest.mark.parametrize("longest_edge", [512, 1536, 2048])
@pytest.mark.parametrize("edge", [384, 512])
def test_sizes_and_grids_are_those_of_transformers(edge: int, longest_edge: int) -> None:
    from transformers.models.smolvlm import image_processing_pil_smolvlm as theirs

    processor = theirs.SmolVLMImageProcessorPil()
    for width, height in np.random.default_rng(0).integers(1, 5000, (300, 2)).tolist():
        rows_columns = theirs._resize_output_size_rescale_to_max_len(height, width, max_len=longest_edge)
        size = scaled((width, height), longest_edge)
        assert size == rows_columns[::-1]
        wanted: list[tuple[int, int]] = []
        processor.resize = lambda image, size, resample, into=wanted: into.append((size.height, size.width))
        processor.resize_for_vision_encoder(np.empty((3, *rows_columns), np.uint8), edge)
        rows, columns = covered(size, edge)
        assert [(rows * edge, columns * edge)] == wanted


def test_one_tile_is_the_whole_picture() -> None:
    layout = encoder("smolvlm-512").prepare(pattern(640, 480)).layout
    assert layout.text == WHOLE
    assert layout.tiles == (Tile((8, 8)),)
    assert layout.num_tokens == 64


def test_several_tiles_are_told_by_row_and_column_and_the_whole_comes_last() -> None:
    layout = encoder("smolvlm-512-2x2").prepare(pattern(64, 48)).layout
    assert layout.text == (
        "<fake_token_around_image><row_1_col_1><image><fake_token_around_image><row_1_col_2><image>\n"
        "<fake_token_around_image><row_2_col_1><image><fake_token_around_image><row_2_col_2><image>\n"
        f"\n{WHOLE}"
    )
    assert layout.tiles == (Tile((8, 8)),) * 5
    assert layout.num_tokens == 320


def test_the_picture_decides_about_rows_and_columns() -> None:
    tiled = encoder("smolvlm-512-tiled")
    flat, tall, square = (tiled.prepare(pattern(*size)).layout for size in ((90, 20), (20, 60), (9, 9)))
    assert flat.text.count("\n") == 1 + 1
    assert tall.text.count("\n") == 4 + 1
    assert [len(layout.tiles) for layout in (flat, tall, square)] == [5, 9, 17]
    assert tiled.smallest == flat
    assert tiled.largest == square
    assert tiled.largest.num_tokens == 1088


@pytest.mark.parity
@pytest.mark.parametrize("size", [(9, 9), (90, 20), (20, 60), (57, 33)])
@pytest.mark.parametrize("entry", smolvlm_reference.CASES)
def test_layouts_are_those_of_transformers(entry: str, size: tuple[int, int]) -> None:
    seen = encoder(entry)
    layout = seen.prepare(pattern(*size)).layout
    num_tiles = len(smolvlm_reference.pixel_values(pattern(*size), seen.spec))
    assert len(layout.tiles) == num_tiles
    rows = max(0, layout.text.count("\n") - 1)
    columns = (num_tiles - 1) // rows if rows else 0
    assert layout.text == smolvlm_reference.image_text(rows, columns)


def test_pixels_that_make_no_whole_patch_are_not_counted() -> None:
    assert encoder("smolvlm-384").smallest.tiles == (Tile((9, 9)),)


@pytest.mark.parametrize("which_input", [U8, U8_CHANNELS_FIRST, F32])
def test_a_graph_that_takes_blue_first_is_fed_blue_first(which_input: int) -> None:
    seen = encoder(which_input=which_input)
    graph = StandIn(seen.graph_input, output=np.zeros((1, 36, HIDDEN), np.float32))
    (pixels,) = seen.prepare(pattern(50, 40)).pixels
    name, axis = seen.graph_input.name, (3, 1, 1)[which_input]
    seen.encode(graph, pixels)
    np.testing.assert_array_equal(graph.fed[name], pixels.data)
    seen.blue_first = True
    seen.encode(graph, pixels)
    np.testing.assert_array_equal(graph.fed[name], np.flip(pixels.data, axis))


@pytest.mark.parametrize("shape", [(1, 36, HIDDEN), (36, HIDDEN)])
def test_features_are_the_rows_of_the_one_output(shape: tuple[int, ...]) -> None:
    seen = encoder()
    embeds = np.arange(36 * HIDDEN, dtype=np.float32).reshape(shape)
    graph = StandIn(seen.graph_input, image_features=embeds)
    (pixels,) = seen.prepare(pattern(50, 40)).pixels
    seen.check(graph, HIDDEN)
    features = seen.encode(graph, pixels)
    np.testing.assert_array_equal(features.embeds, embeds.reshape(36, HIDDEN))
    assert features.deepstack == ()


def test_values_that_are_not_finite_are_a_failure_of_the_engine() -> None:
    seen = encoder()
    graph = StandIn(seen.graph_input, output=np.full((1, 36, HIDDEN), np.nan, np.float32))
    (pixels,) = seen.prepare(pattern(50, 40)).pixels
    with pytest.raises(EngineFailure, match="not finite"):
        seen.encode(graph, pixels)


def test_a_graph_of_other_tokens_is_refused() -> None:
    graph = StandIn(encoder().graph_input, output=np.zeros((1, 64, HIDDEN), np.float32))
    with pytest.raises(PackageError) as error:
        encoder().check(graph, HIDDEN)
    assert str(error.value) == (
        "The vision graph's outputs are output [1, 64, 8], expected one of [36, 8], the tokens of one run by "
        "the hidden size."
    )


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("uint8", (1, 512, 512, 3)), ("uint8", (1, 3, 512, 512)), ("float32", (1, 3, 512, 512))],
)
def test_published_packages_see_one_tile_unless_told_otherwise(dtype: str, shape: tuple[int, ...]) -> None:
    pixels = TensorSpec("pixel_values", dtype, shape)
    found = [
        Registry.load(prefer=prefer).find("llama", pixels).name for prefer in ([], ["smolvlm-512-tiled"])
    ]
    assert found == ["smolvlm-512", "smolvlm-512-tiled"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"merge_size": 5},
            "field 'merge_size': expected a divisor of the 12 patches of an edge, got 5",
        ),
        (
            {"grid": None, "longest_edge": 100},
            "field 'longest_edge': expected a multiple of tile_size (96) where grid is null, got 100",
        ),
        (
            {"grid": None, "tile_size": 97, "longest_edge": 97},
            "field 'tile_size': expected an even number where grid is null, got 97",
        ),
        ({"tile_size": 7}, "field 'tile_size': expected at least patch_size (8), got 7"),
        (
            {"question": "<image><image>?"},
            "field 'question': expected one <image> in it, got <image><image>?",
        ),
        (
            {"grid": None, "longest_edge": None},
            "field 'longest_edge': expected a multiple of tile_size (96) where grid is null, got None",
        ),
        (
            {"video": {"marker": "<video>", "placeholder": "<image>", "fps": 1.0, "max_frames": 100}},
            "field 'video.max_frames': expected at most 99, got 100",
        ),
    ],
)
def test_numbers_that_do_not_go_together_are_told(changes: dict[str, Any], told: str) -> None:
    spec = encoder().spec
    with pytest.raises(ValueError, match="field") as error:
        _ = type(spec).model_validate(spec.model_dump() | changes).inputs
    assert str(error.value) == told
