"""Hints: what lies where in a picture, from which a throw-away head teaches the vision tower to look."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.rows import GRID
from training.scenes import COLORS, Scene
from training.shapes import SHAPES
from training.words import DIGITS, LETTERS

IGNORED = -100
CHARACTERS = DIGITS + LETTERS


def hints(scene: Scene) -> NDArray[np.int64]:
    """What each picture token lies on: (36, 5) int64.

    Columns: 1 + shape or 0; colour or IGNORED; large or IGNORED; 1 + first character or 0; 1 + second
    character or 0.
    """
    found = np.zeros((GRID * GRID, 5), np.int64)
    found[:, 1:3] = IGNORED

    def token(x: float, y: float) -> int:
        column, row = int(x * GRID / scene.canvas.width), int(y * GRID / scene.canvas.height)
        return min(GRID - 1, max(0, row)) * GRID + min(GRID - 1, max(0, column))

    for thing in scene.things:
        looks = 1 + SHAPES.index(thing.shape), list(COLORS).index(thing.color), int(thing.large)
        found[token(thing.x, thing.y), :3] = looks
    if scene.text is not None:
        for x, character in zip(scene.text.centers, scene.text.text, strict=True):
            spot = found[token(x, scene.text.y + scene.text.height / 2)]
            if not spot[4]:
                spot[4 if spot[3] else 3] = 1 + CHARACTERS.index(character)
    return found
