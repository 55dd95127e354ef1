"""Questions about two pictures, both of shapes or both of numbers."""

from __future__ import annotations

import random
from collections.abc import Callable

from training.scenes import COLORS, Scene
from training.shape_questions import Asked, article
from training.shapes import SHAPES
from training.text_questions import written

Pair = tuple[Scene, Scene]
AskPair = Callable[[random.Random, Pair], Asked | None]

_ORDER = ("first", "second")


def _of_shapes(pair: Pair) -> bool:
    return pair[0].text is None


def _more(rng: random.Random, pair: Pair) -> Asked | None:
    if not _of_shapes(pair):
        return None
    first, second = (len(scene.things) for scene in pair)
    question = rng.choice(("Which image has more objects?", "Which picture contains more shapes?"))
    return Asked(question, "equal" if first == second else _ORDER[second > first])


def _background(rng: random.Random, pair: Pair) -> Asked:
    forms = (
        "Do both images have the same background color?",
        "Is the background color the same in both images?",
    )
    return Asked(rng.choice(forms), "yes" if pair[0].background == pair[1].background else "no")


def _contains(rng: random.Random, pair: Pair) -> Asked | None:
    if not _of_shapes(pair):
        return None
    name = rng.choice(pair[0].things + pair[1].things).name
    if rng.random() < 0.2:
        name = f"{rng.choice(list(COLORS))} {rng.choice(SHAPES)}"
    first, second = (any(thing.name == name for thing in scene.things) for scene in pair)
    answer = {
        (True, True): "both",
        (True, False): "first",
        (False, True): "second",
        (False, False): "neither",
    }
    form = rng.choice(("Which image contains {}?", "In which image is there {}?"))
    return Asked(form.format(article(name)), answer[first, second])


def _color(rng: random.Random, pair: Pair) -> Asked | None:
    which = rng.randint(0, 1)
    things = pair[which].things
    single = [thing for thing in things if sum(other.shape == thing.shape for other in things) == 1]
    if not _of_shapes(pair) or not single:
        return None
    thing = rng.choice(single)
    form = rng.choice(
        ("What color is the {shape} in the {nth} image?", "In the {nth} image, what color is the {shape}?")
    )
    return Asked(form.format(shape=thing.shape, nth=_ORDER[which]), thing.color)


def _count(rng: random.Random, pair: Pair) -> Asked | None:
    if not _of_shapes(pair):
        return None
    which = rng.randint(0, 1)
    form = rng.choice(("How many objects are in the {} image?", "Count the shapes in the {} image."))
    return Asked(form.format(_ORDER[which]), str(len(pair[which].things)))


def _read(rng: random.Random, pair: Pair) -> Asked | None:
    if _of_shapes(pair):
        return None
    which = rng.randint(0, 1)
    form = rng.choice(("What number is in the {} image?", "Read the number in the {} image."))
    return Asked(form.format(_ORDER[which]), written(pair[which]).text)


def _larger(rng: random.Random, pair: Pair) -> Asked | None:
    if _of_shapes(pair):
        return None
    first, second = (int(written(scene).text) for scene in pair)
    if first == second:
        return None
    asked = rng.choice(("larger", "smaller"))
    form = rng.choice(("Which image shows the {} number?", "Which number is {}, the first or the second?"))
    return Asked(form.format(asked), _ORDER[(first > second) != (asked == "larger")])


PAIR_TASKS: dict[str, AskPair] = {
    "pair_more": _more,
    "pair_bg": _background,
    "pair_contains": _contains,
    "pair_color": _color,
    "pair_count": _count,
    "pair_read": _read,
    "pair_larger": _larger,
}
