"""Batches: rows that say, token by token, what the gateway's prompts say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from training.batches import Batch, Composition, Packer
from training.dialects import QWEN3_VL
from training.examples import TAUGHT
from training.rows import GRID, ROW, Style

TOKENIZER = Path(__file__).parents[2] / "gateway" / "demo" / "checkpoint" / "tokenizer.json"
COMPOSITION = Composition(shape=3, text=3, pair=3, chat=1)
PICTURE = "<|vision_start|>" + "<|image_pad|>" * GRID * GRID + "<|vision_end|>"


@pytest.fixture(scope="module")
def plain() -> Batch:
    return Packer(TOKENIZER, QWEN3_VL).batch("seed", COMPOSITION)


@pytest.fixture(scope="module")
def conversations() -> Batch:
    return Packer(TOKENIZER, QWEN3_VL, Style(joined=1.0, small_talk=0.5, paraphrased=0.5)).batch(
        "seed", COMPOSITION, TAUGHT
    )


def written(batch: Batch, row: int) -> str:
    ids = batch.ids[row][batch.segments[row] >= 0]
    text: str = Tokenizer.from_file(str(TOKENIZER)).decode(ids.tolist(), skip_special_tokens=False)
    return text


def test_the_same_seed_gives_the_same_batch(plain: Batch) -> None:
    again = Packer(TOKENIZER, QWEN3_VL).batch("seed", COMPOSITION)
    assert (plain.ids == again.ids).all()
    assert (plain.pixels == again.pixels).all()
    assert plain.questions == again.questions


def test_shapes_and_dtypes_are_as_promised(plain: Batch) -> None:
    rows, pictures = 10, 3 + 2 * 3 + 2 * 3
    assert plain.pixels.shape == (pictures, 96, 96, 3)
    assert plain.pixels.dtype == np.uint8
    assert (
        plain.ids.shape == plain.pictures.shape == plain.segments.shape == plain.learnt.shape == (rows, ROW)
    )
    assert plain.positions.shape == (3, rows, ROW)
    assert plain.hints.shape == (pictures, GRID * GRID, 5)


def test_every_picture_token_is_used_once(plain: Batch, conversations: Batch) -> None:
    for batch in (plain, conversations):
        used = np.sort(batch.pictures[batch.pictures > 0])
        assert (used == 1 + np.arange(len(batch.pixels) * GRID * GRID)).all()


def test_what_is_learnt_is_each_answer_and_its_end(plain: Batch) -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    for row, questions in enumerate(plain.questions):
        for number, question in enumerate(questions, 1):
            learnt = plain.ids[row][plain.learnt[row] & (plain.segments[row] == number)]
            answer = tokenizer.decode(learnt.tolist(), skip_special_tokens=False)
            assert answer == question.answer + "<|im_end|>"


def test_a_question_alone_reads_like_a_chat(plain: Batch) -> None:
    row = 0
    first = plain.questions[row][0]
    ids = plain.ids[row][(plain.segments[row] == 0) | (plain.segments[row] == 1)]
    text = Tokenizer.from_file(str(TOKENIZER)).decode(ids.tolist(), skip_special_tokens=False)
    user = f"<|im_start|>user\n{PICTURE}{first.text}<|im_end|>\n"
    assert text.endswith(f"{user}<|im_start|>assistant\n{first.answer}<|im_end|>")


def test_a_conversation_reads_like_a_chat(conversations: Batch) -> None:
    for row in range(9):
        turns = written(conversations, row).split("<|im_start|>")
        roles = [turn.split("\n", 1)[0] for turn in turns[1:]]
        if roles[0] == "system":
            roles = roles[1:]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(turn.endswith("<|im_end|>\n") for turn in turns[1:-1])


def test_positions_step_over_a_picture_by_its_side(plain: Batch) -> None:
    row = plain.pictures[0] > 0
    time, height, width = plain.positions[:, 0, row]
    start = time[0]
    assert (time == start).all()
    assert (height - start == np.arange(GRID * GRID) // GRID).all()
    assert (width - start == np.arange(GRID * GRID) % GRID).all()
    after = int(np.nonzero(row)[0][-1]) + 1
    assert (plain.positions[:, 0, after] == start + GRID).all()


def test_hints_name_as_many_things_as_there_are(plain: Batch) -> None:
    for row in range(3):
        counted = [question for question in plain.questions[row] if question.task == "count_all"]
        if counted:
            assert int((plain.hints[row][:, 0] > 0).sum()) <= int(counted[0].answer)
    assert (plain.hints[:3, :, 3:] == 0).all()
    assert (plain.hints[3:9, :, 3] > 0).any(1).all()


def test_measured_rows_join_nothing(plain: Batch, conversations: Batch) -> None:
    assert not plain.joined.any()
    assert conversations.joined.all()
