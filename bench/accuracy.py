"""How often a demo model is right, asked through the gateway about pictures it never saw.

    python -m bench.accuracy [--model axgate-demo] [--pictures 200] [--size 96] [--url http://127.0.0.1:8080/v1]

Exact match of greedy answers, per task, on generated examples (see training/). Without --url it starts a
gateway with the demo models on the emulated card. Tasks with `(unseen)` are about words that training never
shows.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter

from openai import OpenAI
from PIL import Image
from rich.console import Console
from rich.table import Table

from gateway.demo import MODEL_NAME
from tests.served import served, user
from training.examples import examples
from training.questions import Kind, Question

SEED = 20261120
MAX_TOKENS = 100


@dataclass
class Score:
    num_asked: int = 0
    num_right: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.num_right / self.num_asked


def questions(
    num_pictures: int, size: int, seed: int = SEED
) -> Iterator[tuple[Question, tuple[Image.Image, ...]]]:
    """Every question about so many examples of each kind."""
    kinds: list[tuple[Kind, bool]] = [("shape", False), ("text", False), ("text", True), ("pair", False)]
    for kind, held_out in kinds:
        for example in islice(examples(seed, kind, held_out, size), num_pictures):
            for question in example.questions:
                yield question, example.pictures


def measure(
    base_url: str, num_pictures: int, size: int = 96, seed: int = SEED, model: str = MODEL_NAME
) -> dict[str, Score]:
    """Task -> score, eight questions at a time."""
    client = OpenAI(base_url=base_url, api_key="none")

    def ask(asked: tuple[Question, tuple[Image.Image, ...]]) -> tuple[Question, str]:
        question, pictures = asked
        answer = client.chat.completions.create(
            model=model, messages=[user(question.text, *pictures)], temperature=0, max_tokens=MAX_TOKENS
        )
        return question, answer.choices[0].message.content or ""

    scores: dict[str, Score] = defaultdict(Score)
    with ThreadPoolExecutor(8) as pool:
        for question, answer in pool.map(ask, questions(num_pictures, size, seed)):
            score = scores[f"{question.task} (unseen)" if question.unseen else question.task]
            score.num_asked += 1
            score.num_right += answer == question.answer
            if answer != question.answer:
                score.wrong.append(f"{question.text} {question.answer!r} was told as {answer!r}")
    return dict(scores)


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of a demo model, through the gateway.")
    parser.add_argument("--model", default=MODEL_NAME, help="which one (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=200, help="examples per kind (default: %(default)s)")
    parser.add_argument("--size", type=int, default=96, help="pixels a side (default: %(default)s)")
    parser.add_argument("--url", help="base URL of a running gateway")
    parser.add_argument("--wrong", action="store_true", help="show the wrong answers")
    options = parser.parse_args()
    start = perf_counter()
    with ExitStack() as stack:
        base_url = options.url or stack.enter_context(served()).base_url
        scores = measure(base_url, options.pictures, options.size, model=options.model)
    shown = Table("task", "right", "of", "share")
    for task, score in sorted(scores.items()):
        shown.add_row(task, str(score.num_right), str(score.num_asked), f"{score.share:.1%}")
    console = Console()
    console.print(shown)
    asked = sum(score.num_asked for score in scores.values())
    right = sum(score.num_right for score in scores.values())
    console.print(f"{right} of {asked} right, {right / asked:.2%}, in {perf_counter() - start:.0f} s")
    if options.wrong:
        console.print(*[line for score in scores.values() for line in score.wrong], sep="\n", markup=False)


if __name__ == "__main__":
    main()
