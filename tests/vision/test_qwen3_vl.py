import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backends.base import Array, PackageError, TensorSpec
from gateway.errors import EngineFailure
from gateway.vision.encoder import Pixels
from gateway.vision.layout import Layout, Span, Tile
from gateway.vision.qwen3_vl import Qwen3VL
from tests.vision import reference
from tests.vision.entries import encoder as entry_encoder
from tests.vision.pictures import pattern

GOLDEN = Path(__file__).with_name("golden")
HIDDEN = 8


def encoder(entry: str = "axgate-demo-96") -> Qwen3VL:
    found = entry_encoder(entry)
    assert isinstance(found, Qwen3VL)
    return found


class VisionGraph:
    """Answers with the given outputs, and keeps what it was fed."""

    inputs = (TensorSpec("hidden_states", "uint8", (1, 144, 128, 3)),)

    def __init__(self, **outputs: Array) -> None:
        self.outputs = tuple(TensorSpec(name, "float32", array.shape) for name, array in outputs.items())
        self._outputs = outputs
        self.fed: Mapping[str, Array] = {}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.fed = inputs
        return self._outputs


def rows(value: float, num_tokens: int = 36) -> Array:
    return np.full((num_tokens, HIDDEN), value, dtype=np.float32)


def demo_pixels() -> Pixels:
    return prepared(pattern(50, 40))


def prepared(picture: Image.Image, entry: str = "axgate-demo-96") -> Pixels:
    (pixels,) = encoder(entry).prepare(picture).pixels
    return pixels


def golden(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


def layout_positions(layout: list[Any]) -> list[list[int]]:
    spans, place = [], 0
    for run in layout:
        if isinstance(run, int):
            place += run
        else:
            spans.append(Span(place, Tile((run[0], run[1]))))
            place = spans[-1].stop
    return [list(map(int, row)) for row in encoder().positions(place, spans)]


@pytest.mark.parametrize("name", reference.LAYOUTS)
def test_positions_are_those_of_transformers(name: str) -> None:
    assert layout_positions(reference.LAYOUTS[name]) == golden("positions.json")[name]


@pytest.mark.parity
def test_golden_positions_are_what_transformers_gives_today() -> None:
    assert {name: reference.positions(layout) for name, layout in reference.LAYOUTS.items()} == golden(
        "positions.json"
    )


def test_pictures_without_text_between_them_follow_each_other() -> None:
    assert layout_positions([1, [1, 2], [2, 1], 1]) == [
        [0, 1, 1, 3, 3, 5],
        [0, 1, 1, 3, 4, 5],
        [0, 1, 2, 3, 3, 5],
    ]


def test_positions_are_what_the_device_takes() -> None:
    positions = encoder().positions(40, [Span(2, Tile((6, 6)))])
    assert (positions.dtype, positions.shape) == (np.dtype(np.uint32), (3, 40))


def test_a_prepared_picture_is_what_the_graph_takes() -> None:
    pixels = demo_pixels()
    given = TensorSpec("hidden_states", str(pixels.data.dtype), pixels.data.shape)
    assert given == encoder().graph_input


def test_every_picture_is_one_tile_where_its_marker_stands() -> None:
    layout = Layout("<|image_pad|>", (Tile((6, 6)),))
    assert encoder().prepare(pattern(50, 40)).layout == layout
    assert (encoder().smallest, encoder().largest) == (layout, layout)
    assert layout.num_tokens == 36


def test_the_digest_tells_pictures_apart_and_equal_ones_together() -> None:
    first, second = pattern(50, 40), pattern(50, 40)
    assert prepared(first).digest == prepared(second).digest
    second.putpixel((25, 20), (0, 0, 0))
    assert prepared(first).digest != prepared(second).digest
    assert len(prepared(first).digest) == 16


def test_the_digest_tells_entries_apart() -> None:
    (pixels,) = Qwen3VL("twin", encoder().spec, encoder().graph_input).prepare(pattern(9, 9)).pixels
    assert pixels.digest != prepared(pattern(9, 9)).digest


def test_features_are_picked_by_name_and_level() -> None:
    graph = VisionGraph(
        deepstack_feature_1=rows(3), hidden_states_out=rows(1).astype(np.float16), deepstack_feature_0=rows(2)
    )
    features = encoder().encode(graph, demo_pixels())
    np.testing.assert_array_equal(features.embeds, rows(1), strict=True)
    np.testing.assert_array_equal(features.deepstack, [rows(2), rows(3)])
    assert features.nbytes == 3 * 36 * HIDDEN * 4
    np.testing.assert_array_equal(graph.fed["hidden_states"], demo_pixels().data)


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        (
            {"hidden_states_out": rows(1, 35)},
            "The vision graph's output hidden_states_out is [35, 8], expected [36, 8].",
        ),
        (
            {"hidden_states_out": rows(1), "deepstack_feature_0": rows(1)[:, :4]},
            "The vision graph's output deepstack_feature_0 is [36, 4], expected [36, 8].",
        ),
        (
            {"hidden_states_out": rows(1), "deepstack_feature_1": rows(1)},
            "The vision graph's output deepstack_feature_0 is missing, expected [36, 8].",
        ),
        ({"features": rows(1)}, "The vision graph's output hidden_states_out is missing, expected [36, 8]."),
    ],
)
def test_a_vision_graph_that_does_not_fit_is_refused(outputs: dict[str, Array], sentence: str) -> None:
    with pytest.raises(PackageError) as failure:
        encoder().check(VisionGraph(**outputs), HIDDEN)
    assert str(failure.value) == sentence


def test_a_vision_graph_that_fits_is_taken() -> None:
    encoder().check(VisionGraph(hidden_states_out=rows(1), deepstack_feature_0=rows(1)), HIDDEN)


def test_features_that_are_no_numbers_are_an_engine_failure() -> None:
    graph = VisionGraph(hidden_states_out=rows(1), deepstack_feature_0=rows(np.nan))
    with pytest.raises(EngineFailure, match="not finite"):
        encoder().encode(graph, demo_pixels())
