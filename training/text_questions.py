"""Questions about one picture of a word or a number."""

from __future__ import annotations

import random

from training.scenes import Scene, Text
from training.shape_questions import Ask, Asked, article, ask_background, ask_to_describe


def written(scene: Scene) -> Text:
    """The text of a scene that has one; raises `ValueError` for a scene of shapes alone."""
    if scene.text is None:
        raise ValueError("this scene shows no text")
    return scene.text


def _read(rng: random.Random, scene: Scene) -> Asked:
    text = written(scene)
    forms = (
        (
            "What number is shown?",
            "Read the number.",
            "Which number do you see?",
            "What is the number in the image?",
        )
        if text.is_number
        else ("What does the text say?", "Read the text.", "What word is written?", "Which word do you see?")
    )
    return Asked(rng.choice(forms), text.text)


def _color(rng: random.Random, scene: Scene) -> Asked:
    text = written(scene)
    form = rng.choice(("What color is the {}?", "Which color does the {} have?"))
    return Asked(form.format("number" if text.is_number else "text"), text.color)


def _shape(rng: random.Random, scene: Scene) -> Asked | None:
    if not scene.things:
        return None
    forms = ("What shape is in the image?", "Which shape do you see?")
    return Asked(rng.choice(forms), article(scene.things[0].name))


def _length(rng: random.Random, scene: Scene) -> Asked:
    text = written(scene)
    form = rng.choice(("How many {} are there?", "Count the {}."))
    return Asked(form.format("digits" if text.is_number else "letters"), str(len(text.text)))


def _describe(rng: random.Random, scene: Scene) -> Asked:
    text = written(scene)
    answer = f"the {'number' if text.is_number else 'word'} {text.text} in {text.color}"
    if scene.things:
        answer += f" and {article(scene.things[0].name)}"
    return Asked(ask_to_describe(rng), f"{answer}, on {article(scene.background)} background.")


TEXT_TASKS: dict[str, Ask] = {
    "read": _read,
    "text_color": _color,
    "text_bg": ask_background,
    "text_shape": _shape,
    "text_len": _length,
    "text_describe": _describe,
}
