"""Examples: the same for the same seed, and never a held-out word by accident."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import pytest

from training.examples import MEASURED, TAUGHT, Example, examples, scenes
from training.looks import random_look
from training.questions import TASKS, Kind
from training.text_questions import written
from training.words import HELD_OUT_WORDS

KINDS: tuple[Kind, ...] = ("shape", "text", "pair", "chat")


def pixels(example: Example) -> list[bytes]:
    return [picture.tobytes() for picture in example.pictures]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_examples(kind: Kind) -> None:
    first, again = (list(islice(examples(5, kind), 8)) for _ in range(2))
    assert [e.questions for e in first] == [e.questions for e in again]
    assert [pixels(e) for e in first] == [pixels(e) for e in again]


def test_another_seed_gives_other_examples() -> None:
    assert next(examples(1, "shape")).questions != next(examples(2, "shape")).questions


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_has_the_pictures_of_its_kind_and_only_its_tasks(kind: Kind) -> None:
    example = next(examples(0, kind))
    assert len(example.pictures) == {"shape": 1, "text": 1, "pair": 2, "chat": 0}[kind]
    assert all(picture.size == (96, 96) for picture in example.pictures)
    assert {question.task for question in example.questions} <= set(TASKS[kind])


def test_the_size_of_the_pictures_does_not_change_the_questions() -> None:
    small, large = (list(islice(examples(4, "pair", size=size), 4)) for size in (96, 384))
    assert [e.questions for e in small] == [e.questions for e in large]
    assert large[0].pictures[0].size == (384, 384)


def test_held_out_examples_show_only_held_out_words_and_say_so() -> None:
    for example in islice(examples(0, "text", held_out=True), 40):
        (read,) = [question for question in example.questions if question.task == "read"]
        assert read.answer in HELD_OUT_WORDS
        assert all(question.unseen for question in example.questions)


def test_training_texts_are_never_held_out() -> None:
    rng = random.Random(11)
    shown = {written(scenes(rng, "text", TAUGHT)[0]).text for _ in range(3000)}
    assert not shown & set(HELD_OUT_WORDS)


def test_measured_canvases_are_square_and_some_taught_ones_are_not() -> None:
    rng = random.Random(0)
    measured = [scenes(rng, "shape", MEASURED)[0].canvas for _ in range(50)]
    taught = [scenes(rng, "shape", TAUGHT)[0].canvas for _ in range(50)]
    assert all(canvas.width == canvas.height for canvas in measured)
    stretches = [canvas.width / canvas.height for canvas in taught]
    assert any(stretch != 1 for stretch in stretches)
    assert all(0.74 < stretch < 1.34 for stretch in stretches)


def test_every_look_gives_a_picture_the_model_can_take() -> None:
    rng = random.Random(0)
    (scene,) = scenes(rng, "text", TAUGHT)
    taken = [random_look(rng).take(scene) for _ in range(60)]
    assert {(image.shape, image.dtype) for image in taken} == {((96, 96, 3), np.dtype(np.uint8))}
    assert max(np.abs(image.astype(int) - taken[0]).mean() for image in taken) < 12


def test_the_same_look_gives_the_same_pixels() -> None:
    (scene,) = scenes(random.Random(3), "shape", TAUGHT)
    look = random_look(random.Random(9))
    assert look.take(scene).tobytes() == look.take(scene).tobytes()
