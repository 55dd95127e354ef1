"""A tokenizer for tiny checkpoints: the demo model's, with the special tokens of a family."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import tokenizers

from tests.packages import DEMO_CHECKPOINT

VOCAB = 768
"""Rows of the embedding of a checkpoint with this tokenizer; about 80 of them are free for special tokens."""


def tiny_tokenizer(special: Sequence[str]) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer.from_file(str(DEMO_CHECKPOINT / "tokenizer.json"))
    tokenizer.add_special_tokens(list(special))
    assert tokenizer.get_vocab_size() <= VOCAB
    return tokenizer


def write_tokenizer(
    folder: Path, tokenizer: tokenizers.Tokenizer, template: str, named: Mapping[str, str]
) -> None:
    """tokenizer.json, tokenizer_config.json and chat_template.jinja. `named` are the special tokens that the
    family's processor asks the tokenizer for by name."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((DEMO_CHECKPOINT / "tokenizer_config.json").read_text())
    config |= {"extra_special_tokens": dict(named)}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(template)
