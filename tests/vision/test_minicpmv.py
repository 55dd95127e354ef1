import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.vision.layout import Layout, Tile
from gateway.vision.minicpmv import MiniCPMV, best_grid
from tests.vision import minicpmv_reference as reference
from tests.vision.entries import encoder
from tests.vision.graphs import StandIn
from tests.vision.pictures import pattern
from tests.vision.reference import digest

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("golden").joinpath("minicpmv.json").read_text())
HIDDEN = 4


PATCHES = 2  # the third of the inputs: normalised pixels, with the patches side by side


def sliced(name: str = "minicpm-v-2.6", which_input: int = PATCHES) -> MiniCPMV:
    found = encoder(name, which_input)
    assert isinstance(found, MiniCPMV)
    return found


def size_of(case: str) -> tuple[int, int]:
    width, height = map(int, case.split("x"))
    return width, height


def repeated(layout: Layout) -> str:
    """As it stands in the prompt, with each placeholder as many times as its tile has tokens."""
    text = layout.text
    for tile in layout.tiles:
        text = text.replace("<unk>", "<*>" * tile.num_tokens, 1)
    return text.replace("<*>", "<unk>")


@pytest.mark.parametrize("case", GOLDEN)
def test_the_grid_of_slices_is_that_of_the_reference(case: str) -> None:
    assert best_grid(size_of(case), 448, 9) == (tuple(GOLDEN[case]["grid"]) if GOLDEN[case]["grid"] else None)


@pytest.mark.parametrize("case", GOLDEN)
def test_the_prompt_is_that_of_the_reference(case: str) -> None:
    visual = sliced().prepare(pattern(*size_of(case)))
    assert repeated(visual.layout) == reference.text(GOLDEN[case]["grid"])
    assert len(visual.pixels) == len(visual.layout.tiles)


@pytest.mark.parametrize("case", [case for case in GOLDEN if GOLDEN[case]["views"]])
def test_square_views_are_those_of_the_reference(case: str) -> None:
    pixels = sliced().prepare(pattern(*size_of(case))).pixels
    assert [digest(each.data) for each in pixels] == GOLDEN[case]["views"]
    assert len(pixels) == reference.SQUARE_SIZES[size_of(case)]


@pytest.mark.parity
def test_the_golden_file_is_what_the_reference_makes_today() -> None:
    assert json.loads(json.dumps(reference.golden())) == GOLDEN


def test_other_views_are_stretched_to_the_graph_s_size() -> None:
    """Slice by slice, from the whole canvas."""
    whole, *slices = (each.data for each in sliced().prepare(pattern(1000, 420)).pixels)
    assert {each.shape for each in (whole, *slices)} == {(1, 3, 14, 14336)}
    columns, rows = best_grid((1000, 420), 448, 9) or (0, 0)
    canvas = pattern(1000, 420).resize((448 * columns, 448 * rows), 3)
    first = canvas.crop((0, 0, 448, 448))
    (alone,) = sliced("minicpm-v-2.6-whole").prepare(first).pixels
    np.testing.assert_array_equal(slices[0], alone.data, strict=True)
    assert len(slices) == columns * rows


def test_views_are_the_same_in_every_form_that_graphs_take() -> None:
    raw, planes, patches = (
        [each.data for each in sliced(which_input=which).prepare(pattern(1000, 420)).pixels]
        for which in range(3)
    )
    assert {(each.dtype.name, each.shape) for each in raw} == {("uint8", (1, 448, 448, 3))}
    assert {(each.dtype.name, each.shape) for each in planes} == {("float32", (1, 3, 448, 448))}
    for pixels, plane, blocks in zip(raw, planes, patches, strict=True):
        np.testing.assert_array_equal(np.rint((plane[0] + 1) * 127.5).transpose(1, 2, 0), pixels[0])
        # The patch in row 2 and column 5, of 32 by 32.
        patch = blocks[0, :, :, (2 * 32 + 5) * 14 :][:, :, :14]
        np.testing.assert_array_equal(patch, plane[0, :, 28:42, 70:84], strict=True)


def test_layouts_lie_between_the_smallest_and_the_largest() -> None:
    one = Layout("<image><unk></image>", (Tile((1, 64)),))
    assert sliced().smallest == sliced("minicpm-v-2.6-whole").largest == one
    assert sliced().largest.num_tokens == sliced().prepare(pattern(1344, 1344)).layout.num_tokens == 640


def test_a_package_may_see_pictures_whole_only() -> None:
    assert len(sliced("minicpm-v-2.6-whole").prepare(pattern(1344, 1344)).pixels) == 1


def test_features_are_the_queries_rows() -> None:
    family = sliced()
    rows = np.arange(64 * HIDDEN, dtype=np.float32).reshape(1, 64, HIDDEN)
    graph = StandIn(family.graph_input, output=rows)
    family.check(graph, HIDDEN)
    (pixels,) = family.prepare(pattern(30, 20)).pixels
    np.testing.assert_array_equal(family.encode(graph, pixels).embeds, rows[0], strict=True)
