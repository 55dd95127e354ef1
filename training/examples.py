"""Examples: pictures with questions about them, drawn at random but the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from training.questions import TASKS, Kind, Question, ask
from training.scenes import SIDE, SQUARE, Canvas, Scene, random_text, shape_scene, text_scene
from training.words import EASY, HELD_OUT_WORDS, MEASURING, TEACHING, TextMix, random_number


@dataclass(frozen=True)
class Mix:
    """What is drawn how often.

    `number_pairs` is the share of pairs that show numbers; `close_pairs` the share of those whose two
    numbers are equally long; `stretched` the share of pictures whose canvas is not square (at most 4:3).
    """

    text: TextMix
    shape_counts: tuple[int, int]
    number_pairs: float
    close_pairs: float
    stretched: float


MEASURED = Mix(MEASURING, (1, 5), 0.35, 0.0, 0.0)
"""The mix that accuracy is measured on."""

TAUGHT = Mix(TEACHING, (1, 5), 0.6, 0.4, 0.12)
"""The mix for training."""

BEGUN = Mix(EASY, (1, 2), 0.35, 0.0, 0.0)
"""The mix a model that knows nothing starts with."""


@dataclass(frozen=True)
class Example:
    """Square RGB pictures (none for chat, two for pairs) and the questions they can answer, one per task."""

    pictures: tuple[Image.Image, ...]
    questions: tuple[Question, ...]


def _canvas(rng: random.Random, mix: Mix) -> Canvas:
    if rng.random() >= mix.stretched:
        return SQUARE
    stretch = rng.uniform(3 / 4, 4 / 3) ** 0.5
    return Canvas(SIDE * stretch, SIDE / stretch)


def _pair(rng: random.Random, mix: Mix) -> tuple[Scene, ...]:
    if rng.random() >= mix.number_pairs:
        most = min(4, mix.shape_counts[1])
        return tuple(shape_scene(rng, (1, most), _canvas(rng, mix)) for _ in range(2))
    first, second = random_number(rng, mix.text), random_number(rng, mix.text)
    if rng.random() < mix.close_pairs:
        while len(second) != len(first):
            second = random_number(rng, mix.text)
    return tuple(text_scene(rng, number, _canvas(rng, mix)) for number in (first, second))


def scenes(rng: random.Random, kind: Kind, mix: Mix, held_out: bool = False) -> tuple[Scene, ...]:
    """The scenes of one example; `held_out` makes a text one of `HELD_OUT_WORDS`."""
    if kind == "chat":
        return ()
    if kind == "pair":
        return _pair(rng, mix)
    canvas = _canvas(rng, mix)
    if kind == "shape":
        return (shape_scene(rng, mix.shape_counts, canvas),)
    text = rng.choice(HELD_OUT_WORDS) if held_out else random_text(rng, mix.text)
    return (text_scene(rng, text, canvas),)


def examples(seed: int, kind: Kind, held_out: bool = False, size: int = SIDE) -> Iterator[Example]:
    """Endless examples of the measured mix, the same for the same seed, with pictures `size` pixels a side.

    `held_out` (for `text`) shows only words that training never shows. The questions do not depend on `size`.
    """
    rng = random.Random(f"{seed} {kind} {held_out}")
    unseen = held_out and kind == "text"
    while True:
        drawn = scenes(rng, kind, MEASURED, unseen)
        asked = tuple(q for task in TASKS[kind] if (q := ask(rng, task, drawn, unseen)) is not None)
        yield Example(tuple(scene.render(size) for scene in drawn), asked)
