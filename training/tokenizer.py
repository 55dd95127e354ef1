"""The tokenizer: a small byte-level BPE over what the examples say: `python -m training.tokenizer FILE`.

Texts shown in pictures are left out when merges are learnt, so that they are read character by character.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from training.examples import MEASURED, scenes
from training.questions import SYSTEM_PROMPTS, TASKS, Kind, ask

SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen's tokenizers cut text before merging; every digit stands alone."""
_KINDS: tuple[Kind, ...] = ("shape", "shape", "pair", "text", "chat")
_SHOWN = ("read", "text_describe", "pair_read")


def lines(seed: int, num_examples: int) -> Iterator[str]:
    """Questions and answers to learn merges from, the same for the same seed."""
    rng = random.Random(f"tokenizer {seed}")
    for _ in range(num_examples):
        kind = rng.choice(_KINDS)
        shown = scenes(rng, kind, MEASURED)
        for task in TASKS[kind]:
            question = ask(rng, task, shown)
            if question is not None:
                yield question.text
                if task not in _SHOWN:
                    yield question.answer
    yield from ("system", "user", "assistant") * (num_examples // 3)
    yield from SYSTEM_PROMPTS * (num_examples // 20)


def build(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE of at most that many tokens; any text can be written with it."""
    tokenizer = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=20,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def main() -> None:
    """Build a tokenizer and write it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--examples", type=int, default=6000)
    arguments.add_argument("--vocab", type=int, default=768)
    given = arguments.parse_args()
    build(lines(given.seed, given.examples), given.vocab).save(str(given.file))


if __name__ == "__main__":
    main()
