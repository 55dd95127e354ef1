"""Rows: the questions about the same pictures, written one after another as tokens."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from tokenizers import Tokenizer

from training.dialects import Dialect
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
    where; `text_first` the share of turns of conversations whose pictures come after the text.
    """

    joined: float = 0.0
    small_talk: float = 0.0
    paraphrased: float = 0.0
    wordy: float = 0.0
    relations: float = 0.0
    text_first: float = 0.0


PLAIN = Style()
"""How questions are put when accuracy is measured."""


@dataclass
class Row:
    """One row while it is written.

    Per token: id; position (time, height, width); 1 + index among the row's picture tokens, or 0; segment
    (0 is what every question of the example sees, n is question n, -1 is padding); number of the example;
    whether it is learnt. Of the user's turn: whether text opens it, and how many pictures wait for its end.
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
    opens_with_text: bool = True
    waiting: int = 0

    def begin_example(self) -> None:
        """What follows does not see what came before; positions start again."""
        self.example += 1
        self.at = 0

    def add_text(self, ids: Iterable[int], segment: int, learnt: bool = False) -> None:
        """Append tokens at the next positions."""
        for token in ids:
            self._add(token, (self.at, self.at, self.at), 0, segment, learnt)
            self.at += 1

    def add_picture(self, placeholder: int, *, square: bool) -> None:
        """Append the places of the next picture; `square` as in `Dialect.square_positions`."""
        first = 1 + self.num_pictures * GRID * GRID
        for k in range(GRID * GRID):
            beside = (self.at, self.at + k // GRID, self.at + k % GRID)
            after = (self.at + k, self.at + k, self.at + k)
            self._add(placeholder, beside if square else after, first + k, 0, False)
        self.at += GRID if square else GRID * GRID
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
    """Writes conversations into rows with one tokenizer, in one dialect and style."""

    def __init__(self, tokenizer: Path, dialect: Dialect, style: Style) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._dialect = dialect
        self._style = style
        self._cache: dict[str, list[int]] = {}
        (self._end,) = self._encode(dialect.end)
        (self._placeholder,) = self._encode(dialect.placeholder)
        (self._padding,) = self._encode("<|endoftext|>")
        self._user = self._encode(dialect.gap + dialect.user)
        self._reply = self._encode(dialect.end + dialect.gap + dialect.assistant)

    def begin(self, rng: random.Random, row: Row, num_pictures: int, *, roomy: bool) -> None:
        """Begin an example, up to its first question: pictures come before the text of their turn.

        In a joined row that has begun already it is a later turn of the same conversation, and pictures may
        come after the text of its first question. `roomy` allows what is long.
        """
        if row.joined and row.ids:
            row.add_text(self._user, 0)
        else:
            row.begin_example()
            row.add_text(self._encode(self._dialect.opening), 0)
            self._system(rng, row, roomy)
            row.add_text(self._encode(self._dialect.user), 0)
            row.opens_with_text = True
            if row.joined and num_pictures and rng.random() < self._style.small_talk:
                self._turn(row, Question("chat", *rng.choice(CHAT)))
                row.add_text(self._user, 0)
        row.waiting = num_pictures
        text_first = row.joined and self._style.text_first > 0 and rng.random() < self._style.text_first
        row.opens_with_text = text_first or not num_pictures
        if not text_first:
            self._show(row)

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
            if len(row.ids) + self._length(row, question, again) > limit:
                misses += 1
                if misses > 3:
                    break
                continue
            if again:
                row.add_text(self._user, len(row.questions))
                row.opens_with_text = True
            elif not row.joined:
                row.at = base
            self._turn(row, question)
            if task == "chat" and len(row.questions) - first == 2:
                break
        self._show(row)

    def finish(self, rng: random.Random, row: Row) -> None:
        """Sometimes a last word, then padding."""
        farewell = Question("chat", *rng.choice(SMALL_TALK))
        talks = row.joined and row.num_pictures > 0 and rng.random() < self._style.small_talk
        if talks and len(row.ids) + self._length(row, farewell, again=True) <= ROW:
            row.add_text(self._user, len(row.questions))
            row.opens_with_text = True
            self._turn(row, farewell)
        row.pad(self._padding)

    def _show(self, row: Row) -> None:
        """The pictures of the turn that are not there yet."""
        for _ in range(row.waiting):
            row.add_text(self._encode(self._dialect.before_picture), 0)
            row.add_picture(self._placeholder, square=self._dialect.square_positions)
            row.add_text(self._encode(self._dialect.after_picture), 0)
        row.waiting = 0

    def _turn(self, row: Row, question: Question) -> None:
        """The question's text, after which the user's turn ends, and the answer, which is learnt."""
        row.questions.append(question)
        segment = len(row.questions)
        asked, answered = self._ids(row, question)
        row.add_text(asked, segment)
        self._show(row)
        row.add_text(self._reply, segment)
        row.add_text(answered, segment, learnt=True)

    def _ids(self, row: Row, question: Question) -> tuple[list[int], list[int]]:
        lead = self._dialect.lead * row.opens_with_text
        answered = self._encode(self._dialect.lead + question.answer)
        return self._encode(lead + question.text), [*answered, self._end]

    def _length(self, row: Row, question: Question, again: bool) -> int:
        asked, answered = self._ids(row, question)
        around = self._encode(self._dialect.before_picture + self._dialect.after_picture)
        pictures = row.waiting * (GRID * GRID + len(around))
        lead = again * (len(self._user) + len(self._dialect.lead))  # at most a token a character
        return lead + len(asked) + pictures + len(self._reply) + len(answered)

    def _system(self, rng: random.Random, row: Row, roomy: bool) -> None:
        if roomy and rng.random() < self._style.wordy:
            prompt = " ".join(rng.sample(WORDY_SYSTEM_PROMPTS, rng.randint(1, 2)))
        elif rng.random() < 0.25:
            prompt = rng.choice(SYSTEM_PROMPTS)
        else:
            return
        dialect = self._dialect
        row.add_text(self._encode(dialect.system + dialect.lead + prompt + dialect.end + dialect.gap), 0)

    def _encode(self, text: str) -> list[int]:
        if text not in self._cache:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
            if len(self._cache) == 100_000:
                self._cache.clear()
            self._cache[text] = ids
        return self._cache[text]
