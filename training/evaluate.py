"""How often the model is exactly right: `python -m training.evaluate gateway/demo/checkpoint`."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F

from training.batches import Batch, Composition, Packer
from training.checkpoint import load
from training.families import family_of
from training.model import DemoModel
from training.tensors import tensors

MEASURED_ROWS = Composition(shape=26, text=20, pair=12, chat=2)
UNSEEN_ROWS = Composition(shape=0, text=40, pair=0, chat=0)


@dataclass
class Score:
    """Questions asked and answered exactly right, by task; a task about a held-out word ends in `_unseen`."""

    asked: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    loss: float = 0.0
    tokens: int = 0

    @property
    def share(self) -> float:
        """The share of all questions answered right."""
        return self.right.total() / max(1, self.asked.total())

    def shares(self) -> dict[str, tuple[float, int]]:
        """By task: the share answered right, and the number asked."""
        return {
            task: (round(self.right[task] / asked, 4), asked) for task, asked in sorted(self.asked.items())
        }


def add_batch(score: Score, model: DemoModel, batch: Batch) -> None:
    """Add one batch.

    Every token of an answer, and its end, must be the likeliest given the right ones before it: then, and
    only then, would greedy decoding give exactly the answer.
    """
    given = tensors(batch)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        hidden, _ = model.hidden(*given.inputs)
        logits = model.logits(hidden.flatten(0, 1)[given.rows]).float()
    score.loss += F.cross_entropy(logits, given.labels, reduction="sum").item()
    score.tokens += given.labels.numel()
    places = (given.rows + 1).tolist()
    segments = batch.segments.reshape(-1)
    length = batch.ids.shape[1]
    exact: dict[tuple[int, int], bool] = {}
    for place, good in zip(places, (logits.argmax(-1) == given.labels).tolist(), strict=True):
        key = (place // length, int(segments[place]) - 1)
        exact[key] = exact.get(key, True) and good
    for (row, index), good in exact.items():
        question = batch.questions[row][index]
        task = question.task + "_unseen" * question.unseen
        score.asked[task] += 1
        score.right[task] += good


def measuring_batches(packer: Packer, count: int, unseen: int) -> list[Batch]:
    """Batches of the measured mix and of held-out words, which training never draws."""
    seen = [packer.batch(f"measured {i}", MEASURED_ROWS) for i in range(count)]
    return seen + [packer.batch(f"unseen {i}", UNSEEN_ROWS, held_out=True) for i in range(unseen)]


def evaluate(model: DemoModel, batches: list[Batch]) -> Score:
    """The score over the batches."""
    score = Score()
    for batch in batches:
        add_batch(score, model, batch)
    return score


def main() -> None:
    """Print the score of a checkpoint folder as a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("checkpoint", type=Path)
    arguments.add_argument("--batches", type=int, default=16)
    arguments.add_argument("--unseen", type=int, default=4)
    given = arguments.parse_args()
    packer = Packer(given.checkpoint / "tokenizer.json", family_of(given.checkpoint).dialect)
    score = evaluate(load(given.checkpoint), measuring_batches(packer, given.batches, given.unseen))
    print("| task | exactly right | questions |\n|---|---|---|")
    for task, (share, asked) in score.shares().items():
        print(f"| {task} | {share:.1%} | {asked} |")
    print(f"| all | {score.share:.1%} | {score.asked.total()} |")


if __name__ == "__main__":
    main()
