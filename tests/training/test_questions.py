"""Questions: the answer is what the scene shows."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from training.examples import MEASURED, TAUGHT, scenes
from training.pair_questions import PAIR_TASKS
from training.questions import CHAT, TASKS, Kind, Question, ask
from training.scenes import COLORS, Scene, Thing
from training.shape_questions import SHAPE_TASKS, describe
from training.text_questions import TEXT_TASKS, written


def asked(task: str, kind: Kind, count: int = 150) -> Iterator[tuple[tuple[Scene, ...], Question]]:
    rng = random.Random(task)
    for _ in range(count):
        shown = scenes(rng, kind, MEASURED)
        question = ask(rng, task, shown)
        if question is not None:
            yield shown, question


def mentioned(scene: Scene, text: str) -> list[Thing]:
    """The things a question speaks of, by their name or by a shape that only one has, in its order."""
    found: dict[int, Thing] = {}
    for thing in scene.things:
        alone = sum(other.shape == thing.shape for other in scene.things) == 1
        for name in (thing.name, f"the {thing.shape}") if alone else (thing.name,):
            if name in text:
                found[text.index(name)] = thing
    return [found[at] for at in sorted(found)]


def words(text: str) -> list[str]:
    return text.lower().replace("?", " ").replace(".", " ").replace(",", " ").replace(":", " ").split()


def test_the_count_is_the_number_of_things() -> None:
    for (scene,), question in asked("count_all", "shape"):
        assert question.answer == str(len(scene.things))


def test_the_count_of_a_color_is_the_number_of_things_in_it() -> None:
    for (scene,), question in asked("count_color", "shape"):
        (color,) = set(words(question.text)) & set(COLORS)
        assert question.answer == str(sum(thing.color == color for thing in scene.things))


def test_a_color_answered_belongs_to_the_only_thing_of_that_shape() -> None:
    for (scene,), question in asked("color", "shape"):
        (thing,) = [thing for thing in scene.things if thing.shape in words(question.text)]
        assert question.answer == thing.color


def test_something_exists_where_a_thing_has_that_name() -> None:
    answers = set()
    for (scene,), question in asked("exists", "shape"):
        there = any(f" {thing.name}" in question.text for thing in scene.things)
        assert question.answer == ("yes" if there else "no")
        answers.add(question.answer)
    assert answers == {"yes", "no"}


def test_a_relation_is_true_of_the_two_things() -> None:
    for (scene,), question in asked("relation", "shape"):
        one, other = mentioned(scene, question.text)
        relations = {
            "left": one.x < other.x,
            "right": one.x > other.x,
            "above": one.y < other.y,
            "below": one.y > other.y,
        }
        (holds,) = [holds for name, holds in relations.items() if name in words(question.text)]
        assert question.answer == ("yes" if holds else "no")


def test_the_nearer_thing_is_nearer() -> None:
    for (scene,), question in asked("farther", "shape"):
        by_side = {
            "left": min(scene.things, key=lambda t: t.x if t.name in question.text else 1e9),
            "right": max(scene.things, key=lambda t: t.x if t.name in question.text else -1e9),
            "top": min(scene.things, key=lambda t: t.y if t.name in question.text else 1e9),
            "bottom": max(scene.things, key=lambda t: t.y if t.name in question.text else -1e9),
        }
        (side,) = set(words(question.text)) & set(by_side)
        assert question.answer == f"the {by_side[side].name}"


def test_a_description_names_everything() -> None:
    for (scene,), question in asked("describe", "shape", 30):
        assert question.answer == describe(scene)
        assert all(f"{thing.name} at the {thing.place}" in question.answer for thing in scene.things)
        assert f"{scene.background} background" in question.answer


def test_reading_gives_the_text() -> None:
    for (scene,), question in asked("read", "text"):
        assert question.answer == written(scene).text


def test_the_length_is_the_number_of_characters() -> None:
    for (scene,), question in asked("text_len", "text"):
        assert question.answer == str(len(written(scene).text))


def test_the_larger_number_is_larger() -> None:
    for pair, question in asked("pair_larger", "pair", 400):
        first, second = (int(written(scene).text) for scene in pair)
        assert (question.answer == "first") == ((first > second) == ("larger" in question.text))


def test_the_picture_with_more_things_has_more() -> None:
    for pair, question in asked("pair_more", "pair"):
        first, second = (len(scene.things) for scene in pair)
        assert question.answer == ("equal" if first == second else "first" if first > second else "second")


@pytest.mark.parametrize("kind", ["shape", "text", "pair"])
def test_every_task_can_be_asked(kind: Kind) -> None:
    for task in TASKS[kind]:
        assert any(True for _ in asked(task, kind)), task


def test_no_task_belongs_to_two_kinds() -> None:
    assert len({*SHAPE_TASKS, *TEXT_TASKS, *PAIR_TASKS}) == len(SHAPE_TASKS) + len(TEXT_TASKS) + len(
        PAIR_TASKS
    )


def test_one_chat_line_has_one_answer() -> None:
    assert len({line.question for line in CHAT}) == len(CHAT)


def test_a_scene_of_shapes_has_no_text_to_read() -> None:
    (scene,) = scenes(random.Random(0), "shape", TAUGHT)
    with pytest.raises(ValueError, match="shows no text"):
        written(scene)
