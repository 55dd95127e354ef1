"""Other ways people put the same questions, so that the model does not depend on one wording."""

from __future__ import annotations

import random

_DESCRIBE = (
    "Describe this image.",
    "Describe the picture.",
    "Describe this picture.",
    "What is in the image?",
    "What is in the picture?",
    "What is in this picture?",
    "What's in this image?",
    "What does the image show?",
    "What do you see in this image?",
    "What can you see?",
    "Tell me what you see.",
)
_READ_WORD = (
    "What does it say?",
    "Read the word.",
    "What is written here?",
    "What is the word?",
    "What text is in the image?",
    "What does this say?",
    "Which word is shown?",
)
_READ_NUMBER = (
    "What number is this?",
    "What is the number?",
    "Which number is shown?",
    "What number do you see?",
)
_COUNT = ("How many shapes are there?", "How many objects are in the image?", "How many objects do you see?")
_BACKGROUND = ("What colour is the background?", "What is the color of the background?")

_OTHERS: dict[str, tuple[str, ...]] = {
    "Describe the image.": _DESCRIBE,
    "What do you see?": _DESCRIBE,
    "What is in this image?": _DESCRIBE,
    "Describe this picture in detail.": _DESCRIBE,
    "What does the text say?": _READ_WORD,
    "Read the text.": _READ_WORD,
    "What word is written?": _READ_WORD,
    "Which word do you see?": _READ_WORD,
    "What number is shown?": _READ_NUMBER,
    "Read the number.": _READ_NUMBER,
    "Which number do you see?": _READ_NUMBER,
    "How many objects are there?": _COUNT,
    "How many shapes are in the image?": _COUNT,
    "Count the objects.": _COUNT,
    "What color is the background?": _BACKGROUND,
}
_SWAPS = (
    ("color", "colour"),
    ("image", "picture"),
    ("image", "photo"),
    ("picture", "image"),
    ("object", "shape"),
)


def paraphrase(rng: random.Random, question: str) -> str:
    """Another way to ask the same: other words, another spelling, careless writing, or simply the same."""
    question = rng.choice((*_OTHERS.get(question, ()), question))
    if rng.random() < 0.3:
        old, new = rng.choice(_SWAPS)
        question = question.replace(old, new)
    if rng.random() < 0.3:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.3:
        question = question.rstrip("?.")
    if rng.random() < 0.1:
        question += rng.choice((" Answer briefly.", " Please.", " Answer in one word.", "\n"))
    return question
