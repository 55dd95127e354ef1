"""Rows: the questions about the same pictures, written one after another as tokens."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tokenizers import Tokenizer

from training.paraphrases import paraphrase
from training.questions import CHAT, SMALL_TALK, SYSTEM_PROMPTS, WORDY_SYSTEM_PROMPTS, Question, ask
from training.scenes import Scene

ROW = 208
"""Tokens in a row."""
GRID = 6
"""Picture tokens along a side; a picture has GRID * GRID."""


@dataclass(frozen=True)
class Style:
    """How questions are put.

    `joined` is the share of rows that are one conversation; `small_talk` the share of those that begin or
    end with some; `paraphrased` the share of questions in other words; `wordy` the share of rows with long
    system prompts; `relations` the share of rows of shapes that ask first, and more than once, what lies
    where.
    """

    joined: float = 0.0
    small_talk: float = 0.0
    paraphrased: float = 0.0
    wordy: float = 0.0
    relations: float = 0.0


PLAIN = Style()
"""How questions are put when accuracy is measured."""


@dataclass
class Row:
    """One row while it is written.

    Per token: id; position (time, height, width); 1 + index among the row's picture tokens, or 0; segment
    (0 is what every question of the example sees, n is question n, -1 is padding); number of the example;
    whether it is learnt.
    """

    joined: bool
    ids: list[int] = field(default_factory=list)
    positions: list[tuple[int, int, int]] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)
    learnt: list[bool] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    num_pictures: int = 0
    example: int = 0
    at: int = 0

    def begin_example(self) -> None:
        """What follows does not see what came before; positions start again."""
        self.example += 1
        self.at = 0

    def add_text(self, ids: Iterable[int], segment: int, learnt: bool = False) -> None:
        """Append tokens at the next positions."""
        for token in ids:
            self._add(token, (self.at, self.at, self.at), 0, segment, learnt)
            self.at += 1

    def add_picture(self, pad: int) -> None:
        """Append the places of the next picture."""
        first = 1 + self.num_pictures * GRID * GRID
        for k in range(GRID * GRID):
            self._add(pad, (self.at, self.at + k // GRID, self.at + k % GRID), first + k, 0, False)
        self.at += GRID
        self.num_pictures += 1

    def pad(self, token: int) -> None:
        """Fill up to ROW tokens."""
        while len(self.ids) < ROW:
            self._add(token, (0, 0, 0), 0, -1, False)

    def _add(
        self, token: int, position: tuple[int, int, int], picture: int, segment: int, learnt: bool
    ) -> None:
        self.ids.append(token)
        self.positions.append(position)
        self.pictures.append(picture)
        self.segments.append(segment)
        self.examples.append(self.example)
        self.learnt.append(learnt)


class Writer:
    """Writes conversations into rows with one tokenizer, in one style."""

    def __init__(self, tokenizer: Path, style: Style) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._style = style
        self._cache: dict[str, list[int]] = {}
        self._start = self._id("<|im_start|>")
        self._end = self._id("<|im_end|>")
        self._newline = self._encode("\n")
        self._user = [self._start, *self._encode("user\n")]
        self._assistant = [self._end, *self._newline, self._start, *self._encode("assistant\n")]

    def begin(self, rng: random.Random, row: Row, num_pictures: int, *, roomy: bool) -> None:
        """Begin an example, up to its first question: pictures come before the text of their turn.

        In a joined row that has begun already it is a later turn of the same conversation. `roomy` allows
        what is long.
        """
        if row.joined and row.ids:
            row.add_text([*self._newline, *self._user], 0)
        else:
            row.begin_example()
            self._system(rng, row, roomy)
            row.add_text(self._user, 0)
            if row.joined and num_pictures and rng.random() < self._style.small_talk:
                self._turn(row, Question("chat", *rng.choice(CHAT)))
                row.add_text([*self._newline, *self._user], 0)
        for _ in range(num_pictures):
            row.add_text([self._id("<|vision_start|>")], 0)
            row.add_picture(self._id("<|image_pad|>"))
            row.add_text([self._id("<|vision_end|>")], 0)

    def ask(
        self,
        rng: random.Random,
        row: Row,
        shown: tuple[Scene, ...],
        tasks: list[str],
        limit: int,
        *,
        unseen: bool,
    ) -> None:
        """Add questions for the tasks, in that order, while the row stays within `limit` tokens."""
        base, first = row.at, len(row.questions)
        misses = 0
        for task in tasks:
            question = ask(rng, task, shown, unseen)
            if question is None:
                continue
            if rng.random() < self._style.paraphrased:
                question = replace(question, text=paraphrase(rng, question.text))
            again = row.joined and len(row.questions) > first
            if len(row.ids) + self._length(question, again) > limit:
                misses += 1
                if misses > 3:
                    break
                continue
            if again:
                row.add_text([*self._newline, *self._user], len(row.questions))
            elif not row.joined:
                row.at = base
            self._turn(row, question)
            if task == "chat" and len(row.questions) - first == 2:
                break

    def finish(self, rng: random.Random, row: Row) -> None:
        """Sometimes a last word, then padding."""
        farewell = Question("chat", *rng.choice(SMALL_TALK))
        talks = row.joined and row.num_pictures > 0 and rng.random() < self._style.small_talk
        if talks and len(row.ids) + self._length(farewell, again=True) <= ROW:
            row.add_text([*self._newline, *self._user], len(row.questions))
            self._turn(row, farewell)
        row.pad(self._id("<|endoftext|>"))

    def _turn(self, row: Row, question: Question) -> None:
        """The question's text, after which the user's turn ends, and the answer, which is learnt."""
        row.questions.append(question)
        segment = len(row.questions)
        row.add_text([*self._encode(question.text), *self._assistant], segment)
        row.add_text([*self._encode(question.answer), self._end], segment, learnt=True)

    def _length(self, question: Question, again: bool) -> int:
        turn = (
            len(self._encode(question.text)) + len(self._assistant) + len(self._encode(question.answer)) + 1
        )
        return turn + (len(self._newline) + len(self._user)) * again

    def _system(self, rng: random.Random, row: Row, roomy: bool) -> None:
        if roomy and rng.random() < self._style.wordy:
            prompt = " ".join(rng.sample(WORDY_SYSTEM_PROMPTS, rng.randint(1, 2)))
        elif rng.random() < 0.25:
            prompt = rng.choice(SYSTEM_PROMPTS)
        else:
            return
        row.add_text([self._start, *self._encode("system\n" + prompt), self._end, *self._newline], 0)

    def _encode(self, text: str) -> list[int]:
        if text not in self._cache:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
            if len(self._cache) == 100_000:
                self._cache.clear()
            self._cache[text] = ids
        return self._cache[text]

    def _id(self, token: str) -> int:
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no {token}")
        return found
