"""Questions about one picture of shapes: one per task, or None where the scene gives no clear answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from training.scenes import COLORS, Scene, Thing, place
from training.shapes import SHAPES, plural


class Asked(NamedTuple):
    """A question and its one right answer."""

    question: str
    answer: str


Ask = Callable[[random.Random, Scene], Asked | None]

_CLEAR = 9.0
"""Least distance in units between two things along an axis before a question compares them."""


def article(name: str) -> str:
    """The name with `a` or `an` before it."""
    return ("an " if name[0] in "aeiou" else "a ") + name


def describe(scene: Scene) -> str:
    """The full description the model is taught for a picture of shapes: top to bottom, left to right."""
    ordered = sorted(scene.things, key=lambda thing: (thing.row, thing.column, thing.x))
    named = (
        f"a {'large' if thing.large else 'small'} {thing.name} at the {thing.place}" for thing in ordered
    )
    return ", ".join(named) + f", on {article(scene.background)} background."


def _mention(rng: random.Random, scene: Scene, thing: Thing) -> str:
    """A way to name a thing that fits no other: sometimes the shape alone."""
    alone = sum(other.shape == thing.shape for other in scene.things) == 1
    return thing.shape if alone and rng.random() < 0.4 else thing.name


def _color(rng: random.Random, scene: Scene) -> Asked | None:
    shapes = [thing.shape for thing in scene.things]
    single = [thing for thing in scene.things if shapes.count(thing.shape) == 1]
    if not single:
        return None
    thing = rng.choice(single)
    form = rng.choice(
        (
            "What color is the {}?",
            "What is the color of the {}?",
            "Tell me the color of the {}.",
            "Which color does the {} have?",
        )
    )
    return Asked(form.format(thing.shape), thing.color)


def _shape(rng: random.Random, scene: Scene) -> Asked | None:
    colors = [thing.color for thing in scene.things]
    single = [thing for thing in scene.things if colors.count(thing.color) == 1]
    if not single:
        return None
    thing = rng.choice(single)
    form = rng.choice(
        (
            "What shape is the {} object?",
            "What is the {} object?",
            "Which shape is {}?",
            "What is the shape of the {} thing?",
        )
    )
    return Asked(form.format(thing.color), thing.shape)


def _count_all(rng: random.Random, scene: Scene) -> Asked:
    question = rng.choice(
        (
            "How many objects are there?",
            "How many shapes are in the image?",
            "Count the objects.",
            "How many shapes do you see?",
        )
    )
    return Asked(question, str(len(scene.things)))


def _frequent(rng: random.Random, things: tuple[Thing, ...], group: Callable[[Thing], str]) -> str:
    """The group of a thing, rather of a large group: so that counts above one are asked for often enough."""
    drawn = rng.sample(things, min(2, len(things)))
    groups = [group(thing) for thing in things]
    return max((group(thing) for thing in drawn), key=groups.count)


def _count_shape(rng: random.Random, scene: Scene) -> Asked:
    shape = rng.choice(SHAPES) if rng.random() < 0.2 else _frequent(rng, scene.things, lambda t: t.shape)
    form = rng.choice(("How many {} are there?", "Count the {}.", "How many {} do you see?"))
    return Asked(form.format(plural(shape)), str(sum(thing.shape == shape for thing in scene.things)))


def _count_color(rng: random.Random, scene: Scene) -> Asked:
    color = (
        rng.choice(list(COLORS)) if rng.random() < 0.2 else _frequent(rng, scene.things, lambda t: t.color)
    )
    form = rng.choice(("How many {} objects are there?", "Count the {} shapes.", "How many objects are {}?"))
    return Asked(form.format(color), str(sum(thing.color == color for thing in scene.things)))


def _absent(rng: random.Random, scene: Scene) -> str | None:
    """The name of something that is not there but shares a colour or a shape with something that is."""
    names = {thing.name for thing in scene.things}
    for _ in range(20):
        one, other = rng.choice(scene.things), rng.choice(scene.things)
        name = rng.choice(
            (
                f"{one.color} {other.shape}",
                f"{one.color} {rng.choice(SHAPES)}",
                f"{rng.choice(list(COLORS))} {one.shape}",
            )
        )
        if name not in names:
            return name
    return None


def _exists(rng: random.Random, scene: Scene) -> Asked | None:
    there = rng.random() < 0.5
    name = rng.choice(scene.things).name if there else _absent(rng, scene)
    if name is None:
        return None
    form = rng.choice(
        (
            "Is there {}?",
            "Do you see {}?",
            "Does the image contain {}?",
            "Can you see {} in the picture?",
        )
    )
    return Asked(form.format(article(name)), "yes" if there else "no")


def _where(rng: random.Random, scene: Scene) -> Asked:
    thing = rng.choice(scene.things)
    form = rng.choice(
        ("Where is the {}?", "In which part of the image is the {}?", "What is the position of the {}?")
    )
    return Asked(form.format(_mention(rng, scene, thing)), thing.place)


def _what_at(rng: random.Random, scene: Scene) -> Asked | None:
    thing = rng.choice(scene.things)
    cell = (rng.randint(0, 2), rng.randint(0, 2)) if rng.random() < 0.2 else (thing.row, thing.column)
    there = [thing for thing in scene.things if (thing.row, thing.column) == cell]
    if len(there) > 1:
        return None
    form = rng.choice(("What is at the {}?", "Which object is at the {}?", "What do you see at the {}?"))
    return Asked(form.format(place(*cell)), article(there[0].name) if there else "nothing")


def _two_apart(rng: random.Random, scene: Scene, across: bool) -> tuple[Thing, Thing] | None:
    """Two things clearly apart from left to right (across) or from top to bottom."""
    if len(scene.things) < 2:
        return None
    one, other = rng.sample(scene.things, 2)
    apart = one.x - other.x if across else one.y - other.y
    return (one, other) if abs(apart) >= _CLEAR else None


def _relation(rng: random.Random, scene: Scene) -> Asked | None:
    relation = rng.choice(("to the left of", "to the right of", "above", "below"))
    across = relation.startswith("to the")
    pair = _two_apart(rng, scene, across)
    if pair is None:
        return None
    one, other = pair
    before = one.x < other.x if across else one.y < other.y
    holds = before == (relation in ("to the left of", "above"))
    form = rng.choice(("Is the {} {} the {}?", "Can you check if the {} is {} the {}?"))
    names = _mention(rng, scene, one), relation, _mention(rng, scene, other)
    return Asked(form.format(*names), "yes" if holds else "no")


def _farther(rng: random.Random, scene: Scene) -> Asked | None:
    side = rng.choice(("left", "right", "top", "bottom"))
    across = side in ("left", "right")
    pair = _two_apart(rng, scene, across)
    if pair is None:
        return None
    one, other = pair
    before = one.x < other.x if across else one.y < other.y
    nearer = one if before == (side in ("left", "top")) else other
    form = rng.choice(
        ("Which is closer to the {}, the {} or the {}?", "Which one is nearer the {} edge: the {} or the {}?")
    )
    return Asked(form.format(side, one.name, other.name), f"the {nearer.name}")


def _bigger(rng: random.Random, scene: Scene) -> Asked | None:
    pairs = [(one, other) for one in scene.things for other in scene.things if one.large != other.large]
    if not pairs:
        return None
    one, other = rng.choice(pairs)
    asked = rng.choice(("bigger", "smaller"))
    right = one if one.large == (asked == "bigger") else other
    form = rng.choice(("Which is {}, the {} or the {}?", "Which one is {}: the {} or the {}?"))
    return Asked(form.format(asked, one.name, other.name), f"the {right.name}")


def _size(rng: random.Random, scene: Scene) -> Asked:
    thing = rng.choice(scene.things)
    form = rng.choice(("Is the {} small or large?", "What size is the {}?", "How big is the {}?"))
    return Asked(form.format(_mention(rng, scene, thing)), "large" if thing.large else "small")


def _extreme(rng: random.Random, scene: Scene) -> Asked | None:
    if len(scene.things) < 2:
        return None
    side = rng.choice(("leftmost", "rightmost", "topmost", "bottommost"))
    sign = 1 if side in ("leftmost", "topmost") else -1

    def rank(thing: Thing) -> float:
        return sign * (thing.x if side in ("leftmost", "rightmost") else thing.y)

    first, second = sorted(scene.things, key=rank)[:2]
    if rank(second) - rank(first) < 7:
        return None
    form = rng.choice(("What is the {} object?", "Which object is {}?"))
    return Asked(form.format(side), article(first.name))


def ask_background(rng: random.Random, scene: Scene) -> Asked:
    """The colour of the background of any scene."""
    forms = (
        "What color is the background?",
        "What is the background color?",
        "Which color is the background?",
    )
    return Asked(rng.choice(forms), scene.background)


def ask_to_describe(rng: random.Random) -> str:
    """A way to ask for a description."""
    return rng.choice(
        (
            "Describe the image.",
            "What do you see?",
            "What is in this image?",
            "Describe this picture in detail.",
        )
    )


def _describe(rng: random.Random, scene: Scene) -> Asked:
    return Asked(ask_to_describe(rng), describe(scene))


SHAPE_TASKS: dict[str, Ask] = {
    "color": _color,
    "shape": _shape,
    "count_all": _count_all,
    "count_shape": _count_shape,
    "count_color": _count_color,
    "exists": _exists,
    "where": _where,
    "what_at": _what_at,
    "relation": _relation,
    "farther": _farther,
    "bigger": _bigger,
    "size": _size,
    "extreme": _extreme,
    "background": ask_background,
    "describe": _describe,
}
