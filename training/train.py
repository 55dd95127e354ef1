"""Training the demo model: `python -m training.train --help`.

One process draws batches, this one learns from them. Progress is measured in time, because the machine is
shared: the learning rate warms up, stays, and falls to 0 when the time is over.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Full

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batches import Batch, Composition, Packer
from training.checkpoint import load
from training.evaluate import Score, evaluate, measuring_batches
from training.examples import BEGUN, MEASURED, TAUGHT
from training.families import FAMILIES
from training.hints import CHARACTERS, IGNORED
from training.optimiser import Optimiser
from training.rows import Style
from training.scenes import COLORS
from training.shapes import SHAPES
from training.tensors import Tensors, tensors

_WARM_UP_STEPS = 100
_AVERAGE_DECAY = 0.998
_HINTS = (1 + len(SHAPES), len(COLORS), 2, 1 + len(CHARACTERS), 1 + len(CHARACTERS))
_HINT_WEIGHTS = (1.0, 1.0, 0.5, 1.0, 0.5)
_MIXES = {"taught": TAUGHT, "measured": MEASURED}


@dataclass(frozen=True)
class Plan:
    """One stage of training, as given on the command line."""

    family: str
    out: Path
    tokenizer: Path
    start: Path | None
    resume: bool
    minutes: float
    seed: int
    composition: Composition
    mix: str
    style: Style
    easy_steps: int
    muon_lr: float
    adam_lr: float
    threads: int
    evaluate_every_s: float


def draw(plan: Plan, first: int, queue: Queue[Batch]) -> None:
    """Fill the queue with batch `first` and all after it; each depends on the seed and its number alone."""
    packer = Packer(plan.tokenizer, FAMILIES[plan.family].dialect, plan.style)
    trainer = multiprocessing.parent_process()
    for number in itertools.count(first):
        easy = number < plan.easy_steps and number % 10 < 7
        mix = BEGUN if easy else _MIXES[plan.mix]
        batch = packer.batch(f"training {plan.seed} {number}", plan.composition, mix)
        while True:
            if trainer is None or not trainer.is_alive():
                return  # killed, it could not end this process itself
            with contextlib.suppress(Full):
                queue.put(batch, timeout=5)
                break


def drawn(plan: Plan, first: int) -> Iterator[Batch]:
    """Batches from a process of its own, which ends with this one."""
    context = multiprocessing.get_context("spawn")
    queue: Queue[Batch] = context.Queue(4)
    context.Process(target=draw, args=(plan, first, queue), daemon=True).start()
    while True:
        yield queue.get()


def hint_loss(guesses: Tensor, hints: Tensor) -> Tensor:
    """How badly the throw-away head (M, 36, sum of `_HINTS`) names what lies at each token (M, 36, 5)."""
    parts = guesses.flatten(0, 1).float().split(_HINTS, -1)
    total = torch.zeros(())
    for column, (part, weight) in enumerate(zip(parts, _HINT_WEIGHTS, strict=True)):
        classes = torch.ones(part.shape[1])
        if column not in (1, 2):
            classes[0] = 0.15  # most tokens lie on nothing
        labels = hints.flatten(0, 1)[:, column]
        total = total + weight * F.cross_entropy(part, labels, weight=classes, ignore_index=IGNORED)
    return total


class Trainer:
    """The model with all that changes while it learns."""

    def __init__(self, plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.plan = plan
        family = FAMILIES[plan.family]
        self.model = family.model() if plan.start is None else load(plan.start)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.head = nn.Linear(family.config.hidden, sum(_HINTS))
        named = [*self.model.named_parameters(), *self.head.named_parameters("head")]
        self.optimiser = Optimiser(named, plan.muon_lr, plan.adam_lr)
        self.step = 0
        self.elapsed_s = 0.0
        self._hidden = torch.compile(self.model.hidden, dynamic=False)

    def learn(self, given: Tensors) -> tuple[float, float]:
        """One step; the losses of answers and hints."""
        progress = min(1.0, self.elapsed_s / (self.plan.minutes * 60))
        scale = min(1.0, (self.step + 1) / _WARM_UP_STEPS, (1 - progress) / 0.75)
        with torch.autocast("cpu", torch.bfloat16):
            hidden, seen = self._hidden(*given.inputs)
            logits = self.model.logits(hidden.flatten(0, 1)[given.rows])
            # the head starts ignorant: until it is warm it must not disturb what the tower knows
            guesses = self.head(seen.detach() if self.step < _WARM_UP_STEPS else seen)
        loss = F.cross_entropy(logits.float(), given.labels)
        hinted = hint_loss(guesses, given.hints)
        (loss + 0.5 * min(1.0, max(0.1, (1 - progress) / 0.6)) * hinted).backward()
        self.optimiser.step(scale)
        self.step += 1
        decay = min(_AVERAGE_DECAY, self.step / (self.step + 10))
        for kept, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
            kept.lerp_(now.detach(), 1 - decay)
        return loss.item(), hinted.item()

    def save(self) -> None:
        """Write everything, in one move: an interrupted save leaves the former one."""
        path = self.plan.out / "training.pt"
        state = {
            "family": self.plan.family,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "head": self.head.state_dict(),
            "optimiser": self.optimiser.state(),
            "step": self.step,
            "elapsed_s": self.elapsed_s,
        }
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    def resume(self) -> None:
        """Go on where the last `save` was."""
        state = torch.load(self.plan.out / "training.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.head.load_state_dict(state["head"])
        self.optimiser.load(state["optimiser"])
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]


def report(trainer: Trainer, name: str, score: Score, log: Path) -> None:
    """One line for people, one for programs."""
    shares = score.shares()
    worst = sorted((share, task) for task, (share, _) in shares.items())[:9]
    summary = " ".join(f"{task} {share:.3f}" for share, task in worst)
    loss = score.loss / score.tokens
    print(f"{name} after step {trainer.step}: {score.share:.4f} loss {loss:.4f}; worst {summary}", flush=True)
    entry = {
        "step": trainer.step,
        "elapsed_s": trainer.elapsed_s,
        "weights": name,
        "share": score.share,
        "tasks": shares,
    }
    with log.open("a") as lines:
        lines.write(json.dumps(entry) + "\n")


def train(plan: Plan) -> None:
    """Run one stage and leave `training.pt` and `log.jsonl` in `plan.out`."""
    torch.set_num_threads(plan.threads)
    plan.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(plan)
    if plan.resume:
        trainer.resume()
    measuring = measuring_batches(Packer(plan.tokenizer, FAMILIES[plan.family].dialect), 6, 2)
    batches = drawn(plan, trainer.step)
    trainer.learn(tensors(next(batches)))  # compiles, which is not counted
    began = time.monotonic() - trainer.elapsed_s
    evaluated_s = trainer.elapsed_s
    recent: deque[tuple[float, float]] = deque(maxlen=50)
    while trainer.elapsed_s < plan.minutes * 60:
        recent.append(trainer.learn(tensors(next(batches))))
        trainer.elapsed_s = time.monotonic() - began
        if trainer.step % 50 == 0:
            pace = f"{trainer.elapsed_s:.0f} s, {trainer.elapsed_s / trainer.step:.2f} s a step"
            loss, hinted = (sum(losses) / len(recent) for losses in zip(*recent, strict=True))
            print(f"step {trainer.step} ({pace}): loss {loss:.4f} hints {hinted:.3f}", flush=True)
        over = trainer.elapsed_s >= plan.minutes * 60
        if over or trainer.step % 50 == 0:
            trainer.save()
        if over or trainer.elapsed_s - evaluated_s > plan.evaluate_every_s:
            for name, model in (("weights", trainer.model), ("average", trainer.average)):
                report(trainer, name, evaluate(model, measuring), plan.out / "log.jsonl")
            evaluated_s = trainer.elapsed_s


def plan_from(line: list[str] | None = None) -> Plan:
    """The stage that the command line asks for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--family", choices=tuple(FAMILIES), default="qwen3_vl")
    options.add_argument("--out", type=Path, required=True, help="folder for training.pt and log.jsonl")
    options.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    options.add_argument("--start", type=Path, help="checkpoint folder of the family to start from")
    options.add_argument("--resume", action="store_true", help="go on from training.pt in --out")
    options.add_argument("--minutes", type=float, default=75.0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--rows", type=int, nargs=4, default=(28, 24, 10, 2), metavar=("SHAPE", "TEXT", "PAIR", "CHAT")
    )
    options.add_argument("--mix", choices=tuple(_MIXES), default="taught")
    options.add_argument("--joined", type=float, default=0.25, help="share of rows that are one conversation")
    options.add_argument(
        "--small-talk", type=float, default=0.3, help="share of those that begin or end with some"
    )
    options.add_argument("--paraphrased", type=float, default=0.2, help="share of questions in other words")
    options.add_argument("--wordy", type=float, default=0.1, help="share of rows with long system prompts")
    options.add_argument(
        "--relations", type=float, default=0.3, help="share of shape rows that ask first what lies where"
    )
    options.add_argument(
        "--text-first", type=float, default=0.0, help="share of conversations' pictures behind the text"
    )
    options.add_argument(
        "--easy-steps",
        type=int,
        default=0,
        help="steps of mostly easy scenes, for a model that knows nothing",
    )
    options.add_argument("--muon-lr", type=float, default=0.02)
    options.add_argument("--adam-lr", type=float, default=3e-3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--evaluate-every-s", type=float, default=300.0)
    given = vars(options.parse_args(line))
    style = Style(**{style.name: given.pop(style.name) for style in fields(Style)})
    return Plan(composition=Composition(*given.pop("rows")), style=style, **given)


if __name__ == "__main__":
    train(plan_from())
