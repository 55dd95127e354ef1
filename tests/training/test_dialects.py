"""Dialects: training rows are, token by token, what the family's chat template writes."""

from __future__ import annotations

import random
from functools import cache

import pytest
from tokenizers import Tokenizer

from tests.training.checkpoints import DIALECTS, FOLDERS, Json, render, widened
from training.batches import Batch, Composition, Packer
from training.examples import TAUGHT
from training.questions import SYSTEM_PROMPTS, WORDY_SYSTEM_PROMPTS
from training.rows import GRID, Row, Style, Writer

COMPOSITION = Composition(shape=2, text=2, pair=2, chat=1)
PICTURE: Json = {"type": "image"}
OTHERS = ["internvl", "smolvlm"]


def said(role: str, *content: str | Json) -> Json:
    parts = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    return {"role": role, "content": parts}


@cache
def tokenizer(family: str) -> Tokenizer:
    return Tokenizer.from_file(str(FOLDERS[family] / "tokenizer.json"))


def encoded(family: str, text: str) -> list[int]:
    ids: list[int] = tokenizer(family).encode(text, add_special_tokens=False).ids
    return ids


def decoded(family: str, ids: list[int]) -> str:
    text: str = tokenizer(family).decode(ids, skip_special_tokens=False)
    return text


def batch(family: str, style: Style) -> Batch:
    return Packer(FOLDERS[family] / "tokenizer.json", DIALECTS[family], style).batch(
        "dialects", COMPOSITION, TAUGHT
    )


def messages(family: str, text: str) -> list[Json]:
    """The messages of a conversation that a row holds."""
    dialect = DIALECTS[family]
    picture = dialect.before_picture + dialect.placeholder * GRID * GRID + dialect.after_picture
    headers = {"system": dialect.system, "user": dialect.user, "assistant": dialect.assistant}
    found = []
    for written in text.removeprefix(dialect.opening).split(dialect.end)[:-1]:
        written = written.removeprefix(dialect.gap)
        role, header = next((r, h) for r, h in headers.items() if written.startswith(h))
        written = written.removeprefix(header)
        shown = [PICTURE] * written.count(picture)
        spoken = written.replace(picture, "")
        first = written.startswith(picture)
        spoken = spoken if first else spoken.removeprefix(dialect.lead)
        found.append(said(role, *shown, spoken) if first else said(role, spoken, *shown))
    return found


@pytest.mark.parametrize(
    ("family", "text_first"),
    [("qwen3_vl", 0.0), ("internvl", 0.0), ("internvl", 1.0), ("smolvlm", 0.0), ("smolvlm", 1.0)],
)
def test_a_conversation_is_what_the_template_writes(family: str, text_first: float) -> None:
    made = batch(family, Style(joined=1.0, small_talk=0.5, wordy=0.5, text_first=text_first))
    for row in range(len(made.ids)):
        for example in set(made.examples[row][made.segments[row] >= 0].tolist()):
            ids = made.ids[row][(made.segments[row] >= 0) & (made.examples[row] == example)].tolist()
            rendered = render(family, messages(family, decoded(family, ids)), add_generation_prompt=False)
            gap = DIALECTS[family].gap
            assert encoded(family, widened(family, rendered.removesuffix(gap))) == ids


@pytest.mark.parametrize("family", DIALECTS)
def test_a_question_alone_is_what_the_template_writes(family: str) -> None:
    made = batch(family, Style(wordy=0.3))
    systems = [None, *SYSTEM_PROMPTS, *WORDY_SYSTEM_PROMPTS]
    systems += [f"{one} {other}" for one in WORDY_SYSTEM_PROMPTS for other in WORDY_SYSTEM_PROMPTS]
    possible = [[] if prompt is None else [said("system", prompt)] for prompt in systems]
    for row, questions in enumerate(made.questions):
        number = len(questions)
        example = made.examples[row][made.segments[row] == number][0]
        own = (made.segments[row] == 0) | (made.segments[row] == number)
        own &= made.examples[row] == example
        shown = [PICTURE] * (int((made.pictures[row][own] > 0).sum()) // GRID**2)
        asked = said("user", *shown, questions[-1].text)
        prompts = [widened(family, render(family, [*system, asked])) for system in possible]
        answer = DIALECTS[family].lead + questions[-1].answer + DIALECTS[family].end
        ids = made.ids[row][own].tolist()
        assert sum(ids == encoded(family, prompt) + encoded(family, answer) for prompt in prompts) == 1


@pytest.mark.parametrize("family", OTHERS)
def test_positions_count_every_token_once(family: str) -> None:
    made = batch(family, Style(joined=1.0, text_first=0.5))
    for row in range(len(made.ids)):
        written = made.segments[row] >= 0
        for example in set(made.examples[row][written].tolist()):
            positions = made.positions[:, row, written & (made.examples[row] == example)]
            assert (positions == range(positions.shape[1])).all()


@pytest.mark.parametrize("family", DIALECTS)
def test_what_is_learnt_is_each_answer_as_the_model_says_it(family: str) -> None:
    made, dialect = batch(family, Style(joined=0.5, text_first=0.5)), DIALECTS[family]
    for row, questions in enumerate(made.questions):
        for number, question in enumerate(questions, 1):
            learnt = made.ids[row][made.learnt[row] & (made.segments[row] == number)].tolist()
            assert decoded(family, learnt) == dialect.lead + question.answer + dialect.end


@pytest.mark.parametrize("family", OTHERS)
def test_a_turn_without_room_for_a_question_still_shows_its_pictures(family: str) -> None:
    writer = Writer(FOLDERS[family] / "tokenizer.json", DIALECTS[family], Style(joined=1.0, text_first=1.0))
    row, rng = Row(joined=True), random.Random(0)
    writer.begin(rng, row, 2, roomy=False)
    assert row.num_pictures == 0
    writer.ask(rng, row, (), [], 0, unseen=False)
    assert row.num_pictures == 2
