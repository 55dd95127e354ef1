"""What can be asked: every kind of example, its tasks, and one question at a time."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from training.pair_questions import PAIR_TASKS
from training.scenes import Scene
from training.shape_questions import SHAPE_TASKS, Asked
from training.text_questions import TEXT_TASKS

Kind = Literal["shape", "text", "pair", "chat"]

SYSTEM_PROMPTS = ("You are a helpful assistant.", "Answer briefly.", "You are a vision assistant.")
WORDY_SYSTEM_PROMPTS = (
    "You are a helpful assistant that answers questions about images.",
    "You are a small vision language model running on a tiny card.",
    "Answer in one word.",
    "Be concise and truthful.",
    "Keep your answers short and clear.",
    "The user will show you pictures.",
    "Answer the user's question about the picture.",
    "If you do not know, say so.",
    "Respond in English.",
    "Today is Monday.",
)
"""What other programs put before a conversation; it must not confuse the model."""

_HELLO = "Hello! Show me an image and ask me about it."
_SELF = "I am a tiny vision language model. I can describe simple images."
_BLIND = "I cannot see an image. Please attach one."
SMALL_TALK: tuple[Asked, ...] = (
    Asked("Hello!", _HELLO),
    Asked("Hi", _HELLO),
    Asked("Who are you?", _SELF),
    Asked(
        "What can you do?", "I can name colors, shapes, counts and positions, and read short text in images."
    ),
    Asked("What are you?", _SELF),
    Asked("Thank you.", "You are welcome!"),
    Asked("Thanks!", "You are welcome!"),
    Asked("Bye", "Goodbye!"),
    Asked("Goodbye.", "Goodbye!"),
)
"""What the model says whether or not pictures are attached."""

CHAT: tuple[Asked, ...] = (
    *SMALL_TALK,
    Asked("What is in this image?", _BLIND),
    Asked("Describe the image.", _BLIND),
    Asked("What color is the circle?", _BLIND),
    Asked("What number is shown?", _BLIND),
    Asked("What does the text say?", _BLIND),
    Asked("What do you see?", _BLIND),
    Asked("How many objects are there?", _BLIND),
    Asked("What color is the background?", _BLIND),
    Asked("Where is the square?", _BLIND),
    Asked("Is there a red circle?", _BLIND),
    Asked("Read the number.", _BLIND),
)
"""What the model says when no picture is attached."""

TASKS: dict[Kind, tuple[str, ...]] = {
    "shape": tuple(SHAPE_TASKS),
    "text": tuple(TEXT_TASKS),
    "pair": tuple(PAIR_TASKS),
    "chat": ("chat",),
}
"""The tasks of each kind of example."""


@dataclass(frozen=True)
class Question:
    """One question and its one right answer; `unseen` where the text shown is a held-out word."""

    task: str
    text: str
    answer: str
    unseen: bool = False


def ask(rng: random.Random, task: str, scenes: tuple[Scene, ...], unseen: bool = False) -> Question | None:
    """A question for that task about the scenes, or None where they leave it without a clear answer."""
    if task in SHAPE_TASKS:
        asked = SHAPE_TASKS[task](rng, scenes[0])
    elif task in TEXT_TASKS:
        asked = TEXT_TASKS[task](rng, scenes[0])
    elif task in PAIR_TASKS:
        asked = PAIR_TASKS[task](rng, (scenes[0], scenes[1]))
    else:
        asked = rng.choice(CHAT)
    return None if asked is None else Question(task, asked.question, asked.answer, unseen)
