"""What a case should give, and the file in which transformers' answers are kept."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from backends.base import Array

GOLDEN = Path(__file__).parent / "golden" / "transformers.npz"


@dataclass(frozen=True)
class Expected:
    """positions: (3, n); logits: (n, vocab) float32, not rounded
    features:  (1 + levels, visual tokens, hidden) float32: embeds, then deepstack
    """

    positions: Array
    features: Array
    logits: Array


def golden(case: str) -> Expected:
    """The kept answer; its logits are those of the last two positions only."""
    with np.load(GOLDEN) as arrays:
        return Expected(**{name: arrays[f"{case}/{name}"] for name in ("positions", "features", "logits")})


def keep(answers: Mapping[str, Expected]) -> None:
    arrays: dict[str, Array] = {}
    for case, answer in answers.items():
        arrays |= {f"{case}/{name}": array for name, array in asdict(answer).items()}
        arrays[f"{case}/logits"] = answer.logits[-2:]
    np.savez_compressed(GOLDEN, allow_pickle=False, **arrays)
