"""The texts written in pictures: listed words, random letters, pronounceable letters, numbers."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent

HELD_OUT_WORDS: tuple[str, ...] = tuple((_FOLDER / "held_out_words.txt").read_text().split())
"""Words that no training picture ever shows: what the model does with them is reading, not recalling."""

TRAINING_WORDS: tuple[str, ...] = tuple((_FOLDER / "words.txt").read_text().split())
"""Words that training pictures show, each once."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
_CONSONANTS = "BCDFGHJKLMNPQRSTVWXYZ"
_VOWELS = "AEIOU"


@dataclass(frozen=True)
class TextMix:
    """How often which kind of text is drawn.

    `listed`, `letters` and what is left to 1 are the shares of listed words, random letters and
    pronounceable letters; the two tuples are the lengths to choose from, with repetition as weight.
    """

    listed: float
    letters: float
    word_lengths: tuple[int, ...]
    number_lengths: tuple[int, ...]


MEASURING = TextMix(0.4, 0.3, (2, 3, 4, 5, 6), (1, 2, 2, 3, 3, 4, 4, 5, 6))
"""The mix that accuracy is measured on."""

TEACHING = TextMix(0.4, 0.25, (2, 3, 4, 4, 5, 5, 5, 6, 6, 6), (1, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6, 6))
"""The mix for training: more of the long texts, which are the hard ones."""

EASY = TextMix(0.0, 0.5, (2,), (1, 2))
"""The mix a model that knows nothing starts with."""


def random_word(rng: random.Random, mix: TextMix) -> str:
    """A word of 2 to 6 capital letters, never one of `HELD_OUT_WORDS`."""
    share = rng.random()
    if share < mix.listed:
        return rng.choice(TRAINING_WORDS)
    length = rng.choice(mix.word_lengths)
    if share < mix.listed + mix.letters:
        word = "".join(rng.choice(LETTERS) for _ in range(length))
    else:
        first = rng.randint(0, 1)
        word = "".join(rng.choice(_CONSONANTS if (i + first) % 2 else _VOWELS) for i in range(length))
    return random_word(rng, mix) if word in HELD_OUT_WORDS else word


def random_number(rng: random.Random, mix: TextMix) -> str:
    """A number of 1 to 6 digits that does not begin with 0."""
    length = rng.choice(mix.number_lengths)
    return rng.choice(DIGITS[1:]) + "".join(rng.choice(DIGITS) for _ in range(length - 1))
