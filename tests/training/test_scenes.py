"""Scenes: what is drawn is what is said to be there."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from PIL import Image

from training.fonts import TYPEFACES, font
from training.scenes import COLORS, Canvas, Scene, place, shape_scene, text_scene
from training.shapes import SHAPES, plural


def shape_scenes(count: int) -> list[Scene]:
    rng = random.Random(1)
    return [shape_scene(rng, (1, 5)) for _ in range(count)]


def test_the_same_seed_gives_the_same_scene() -> None:
    assert shape_scene(random.Random(7), (1, 5)) == shape_scene(random.Random(7), (1, 5))
    assert text_scene(random.Random(7), "APPLE") == text_scene(random.Random(7), "APPLE")


def test_things_are_in_the_color_and_place_they_claim() -> None:
    for scene in shape_scenes(40):
        picture = np.asarray(scene.draw(1))
        for thing in scene.things:
            if thing.shape != "ring":  # a ring shows the background in its middle
                assert tuple(picture[int(thing.y), int(thing.x)]) == thing.rgb
            assert (thing.row, thing.column) == (int(thing.y // 32), int(thing.x // 32))
            assert np.abs(np.subtract(thing.rgb, COLORS[thing.color])).max() <= 10


def test_things_neither_overlap_nor_share_a_name() -> None:
    for scene in shape_scenes(60):
        for one, other in itertools.combinations(scene.things, 2):
            assert (one.x - other.x) ** 2 + (one.y - other.y) ** 2 > (one.radius + other.radius) ** 2
            assert one.name != other.name


def test_the_background_fills_the_corners_of_a_scene_of_one_thing() -> None:
    scene = shape_scene(random.Random(3), (1, 1))
    assert scene.render(96).getpixel((0, 0)) == scene.rgb


@pytest.mark.parametrize("size", [96, 97, 384])
def test_a_scene_renders_at_any_size(size: int) -> None:
    picture = shape_scene(random.Random(2), (3, 3)).render(size)
    assert (picture.size, picture.mode) == ((size, size), "RGB")


def test_a_large_rendering_reduced_looks_like_the_small_one() -> None:
    for scene in shape_scenes(5):
        small = np.asarray(scene.render(96), dtype=np.int16)
        reduced = scene.render(384).resize((96, 96), Image.Resampling.BOX)
        assert np.abs(small - np.asarray(reduced, dtype=np.int16)).mean() < 3


def test_a_wide_canvas_keeps_its_proportions() -> None:
    assert shape_scene(random.Random(2), (1, 3), Canvas(108, 84)).draw(2).size == (216, 168)


@pytest.mark.parametrize("text", ["I", "WWWWWW", "888888", "QUEEN"])
def test_a_text_lies_within_the_picture(text: str) -> None:
    for seed in range(20):
        scene = text_scene(random.Random(seed), text)
        picture = np.asarray(scene.draw(2))
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (border == scene.rgb).all()
        assert (picture != scene.rgb).any()


def test_every_place_of_the_grid_has_its_own_name() -> None:
    names = {place(row, column) for row in range(3) for column in range(3)}
    assert len(names) == 9
    assert {"center", "top left", "bottom right", "middle left"} < names


def test_every_shape_is_drawn_around_its_center() -> None:
    for shape in SHAPES:
        scene = next(s for s in shape_scenes(500) if len(s.things) == 1 and s.things[0].shape == shape)
        thing = scene.things[0]
        rows, columns = np.nonzero((np.asarray(scene.draw(4)) != scene.rgb).any(2))
        assert abs((rows.min() + rows.max()) / 8 - thing.y) < thing.radius * 0.15
        assert abs((columns.min() + columns.max()) / 8 - thing.x) < thing.radius * 0.15


def test_plurals_are_english() -> None:
    assert (plural("cross"), plural("star")) == ("crosses", "stars")


def test_every_typeface_is_found() -> None:
    assert all(font(typeface, 20).getlength("A") > 5 for typeface in TYPEFACES)
