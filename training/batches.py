"""Batches: rows of every kind over all their pictures.

A picture costs more to compute than a question, so a row carries as many questions as fit. In most rows
each question sees the pictures but no other question; in the rest they form one conversation. Only answers
are learnt. A text leaves less to ask than shapes do, so a row of text holds two examples: apart from each
other, or as two turns of a conversation.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.dialects import Dialect
from training.examples import MEASURED, Mix, scenes
from training.hints import hints
from training.looks import random_look
from training.questions import TASKS, Kind, Question
from training.rows import GRID, PLAIN, ROW, Row, Style, Writer
from training.scenes import Scene

_FIRST = ("describe", "text_describe", "read")


@dataclass(frozen=True)
class Composition:
    """How many rows of each kind a batch has."""

    shape: int
    text: int
    pair: int
    chat: int

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kind of every row."""
        counts: dict[Kind, int] = {
            "shape": self.shape,
            "text": self.text,
            "pair": self.pair,
            "chat": self.chat,
        }
        return tuple(kind for kind, count in counts.items() for _ in range(count))


@dataclass(frozen=True)
class Batch:
    """B rows of ROW tokens over M pictures, in numpy.

    pixels (M, 96, 96, 3) uint8; ids, pictures, segments, examples (B, ROW) int64, pictures being 1 + index
    into M * 36 picture tokens or 0; positions (3, B, ROW) int64; learnt (B, ROW) bool; joined (B,) bool:
    one conversation; hints (M, 36, 5) int64; questions: per row, question n is segment n + 1.
    """

    pixels: NDArray[np.uint8]
    ids: NDArray[np.int64]
    pictures: NDArray[np.int64]
    positions: NDArray[np.int64]
    segments: NDArray[np.int64]
    examples: NDArray[np.int64]
    learnt: NDArray[np.bool_]
    joined: NDArray[np.bool_]
    hints: NDArray[np.int64]
    questions: tuple[tuple[Question, ...], ...]


class Packer:
    """Makes batches in one dialect and style. A batch depends on nothing but what `batch` is given."""

    def __init__(self, tokenizer: Path, dialect: Dialect, style: Style = PLAIN) -> None:
        self._style = style
        self._writer = Writer(tokenizer, dialect, style)

    def batch(
        self, seed: str, composition: Composition, mix: Mix = MEASURED, *, held_out: bool = False
    ) -> Batch:
        """A batch, the same for the same arguments; `held_out` shows only held-out words in rows of text."""
        rng = random.Random(seed)
        rows: list[Row] = []
        drawn: list[Scene] = []
        pictures: list[NDArray[np.int64]] = []
        for kind in composition.kinds:
            row, shown = self._row(rng, kind, mix, held_out and kind == "text")
            index = np.array(row.pictures)
            pictures.append(np.where(index > 0, index + len(drawn) * GRID * GRID, 0))
            rows.append(row)
            drawn.extend(shown)
        return Batch(
            pixels=np.stack([random_look(rng).take(scene) for scene in drawn]),
            ids=np.array([row.ids for row in rows]),
            pictures=np.stack(pictures),
            positions=np.array([row.positions for row in rows]).transpose(2, 0, 1),
            segments=np.array([row.segments for row in rows]),
            examples=np.array([row.examples for row in rows]),
            learnt=np.array([row.learnt for row in rows]),
            joined=np.array([row.joined for row in rows]),
            hints=np.stack([hints(scene) for scene in drawn]),
            questions=tuple(tuple(row.questions) for row in rows),
        )

    def _row(self, rng: random.Random, kind: Kind, mix: Mix, unseen: bool) -> tuple[Row, list[Scene]]:
        row = Row(joined=rng.random() < self._style.joined)
        shown: list[Scene] = []
        num_examples = 2 if kind == "text" else 1
        for number in range(1, num_examples + 1):
            # a conversation may turn from one kind of picture to the other
            turn: Kind = "shape" if kind == "text" and row.joined and rng.random() < 0.4 else kind
            scene = scenes(rng, turn, mix, unseen)
            self._writer.begin(rng, row, len(scene), roomy=num_examples == 1)
            tasks = self._tasks(rng, turn, row.joined)
            self._writer.ask(rng, row, scene, tasks, ROW * number // num_examples, unseen=unseen)
            shown.extend(scene)
        self._writer.finish(rng, row)
        return row, shown

    def _tasks(self, rng: random.Random, kind: Kind, joined: bool) -> list[str]:
        """The tasks in the order they are tried: long answers rather first, for they teach most."""
        tasks = list(TASKS[kind])
        rng.shuffle(tasks)
        for task in _FIRST:
            if task in tasks and rng.random() < (0.7 if task == "read" else 0.45):
                tasks.remove(task)
                tasks.insert(0, task)
        if joined:
            rng.shuffle(tasks)
        if kind == "shape" and rng.random() < self._style.relations:
            tasks = ["farther", "relation", "farther", "relation", *tasks]
        # most tasks about pairs suit only one sort of pair, so more of them must be tried to fill a row
        return tasks + [rng.choice(TASKS[kind]) for _ in range(12 if kind == "pair" else 4)]
