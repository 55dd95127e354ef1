import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backends.base import PackageError
from gateway.errors import InvalidImage
from gateway.vision.layout import Layout, Tile
from gateway.vision.square import Square
from tests.vision import square_reference as reference
from tests.vision.entries import encoder
from tests.vision.graphs import StandIn
from tests.vision.pictures import pattern
from tests.vision.reference import digest

GOLDEN: dict[str, dict[str, str]] = json.loads(
    Path(__file__).with_name("golden").joinpath("squares.json").read_text()
)
HIDDEN = 4


def square(name: str, dtype: str = "uint8") -> Square[Any]:
    found = encoder(name, ["uint8", "float32"].index(dtype))
    assert isinstance(found, Square)
    assert found.graph_input.dtype == dtype
    return found


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("case", GOLDEN)
def test_pixels_are_those_of_the_reference(case: str, dtype: str) -> None:
    name, size = case.split()
    family = square(name, dtype)
    (pixels,) = family.prepare(pattern(*map(int, size.split("x")))).pixels
    assert pixels.data.dtype == np.dtype(dtype)
    assert pixels.data.shape == family.graph_input.shape
    assert digest(pixels.data) == GOLDEN[case][dtype]


@pytest.mark.parity
def test_golden_pixels_are_what_the_references_prepare_today() -> None:
    assert reference.digests() == GOLDEN


@pytest.mark.parity
@pytest.mark.parametrize("name", reference.ENTRIES)
def test_every_value_equals_that_of_the_reference(name: str) -> None:
    picture = pattern(130, 57)
    (pixels,) = square(name, "float32").prepare(picture).pixels
    np.testing.assert_array_equal(pixels.data[0], reference.pixel_values(picture, square(name)), strict=True)


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        (
            "janus-pro-384",
            Layout("<begin_of_image><image_placeholder><end_of_image>", (Tile((24, 24)),)),
        ),
        ("fastvlm-512", Layout("<image>", (Tile((8, 8)),))),
        ("fastvlm-1024", Layout("<image>", (Tile((16, 16)),))),
        ("mobilevlm-v2-336", Layout("<unk>", (Tile((12, 12)),))),
        # Lines of features each with a newline, and a separator: 16 * 17 + 1, 10 * 11 + 1, 8 * 9 + 1.
        ("deepseek-ocr-base", Layout("<image>", (Tile((1, 273)),))),
        ("deepseek-ocr-small", Layout("<image>", (Tile((1, 111)),))),
        ("deepseek-ocr-tiny", Layout("<image>", (Tile((1, 73)),))),
    ],
)
def test_every_picture_has_the_same_layout(name: str, layout: Layout) -> None:
    family = square(name)
    assert family.prepare(pattern(9, 5)).layout == family.smallest == family.largest == layout


def test_positions_are_plain() -> None:
    assert square("janus-pro-384").positions(3, ()).tolist() == [[0, 1, 2]] * 3


def test_features_are_rows_whatever_axes_the_graph_has() -> None:
    family = square("janus-pro-384", "float32")
    rows = np.arange(576 * HIDDEN, dtype=np.float32).reshape(1, 576, HIDDEN)
    graph = StandIn(family.graph_input, output=rows)
    family.check(graph, HIDDEN)
    (pixels,) = family.prepare(pattern(30, 20)).pixels
    features = family.encode(graph, pixels)
    np.testing.assert_array_equal(features.embeds, rows[0], strict=True)
    assert features.deepstack == ()
    np.testing.assert_array_equal(graph.fed["image"], pixels.data, strict=True)


def test_a_graph_with_other_features_is_refused() -> None:
    family = square("deepseek-ocr-tiny")
    graph = StandIn(family.graph_input, output=np.zeros((1, 64, HIDDEN), np.float32))
    with pytest.raises(PackageError, match=r"are output \[1, 64, 4\], expected one of \[73, 4\]"):
        family.check(graph, HIDDEN)


def test_a_strip_that_is_too_long_is_refused() -> None:
    fits, too_long = Image.new("RGB", (1 << 14, 1)), Image.new("RGB", (1, (1 << 14) + 1))
    square("mobilevlm-v2-336").prepare(fits)
    with pytest.raises(
        InvalidImage, match="its longer edge is 16385 pixels, and this model takes at most 16384"
    ):
        square("mobilevlm-v2-336").prepare(too_long)
