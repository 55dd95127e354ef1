"""The tokenizer: whatever people write survives it, and what pictures show is spelled."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from training.tokenizer import SPECIAL_TOKENS, build, lines

CHECKPOINT = Path(__file__).parents[2] / "gateway" / "demo" / "checkpoint"
TEXTS = [
    "What color is the red circle?",
    "a small black triangle at the bottom left, on an orange background.",
    "  two  spaces,\n\nlines\tand tabs ",
    "Größe, 颜色, цвет, 🟥!",
    "HOTEL 48213",
]


@pytest.fixture(scope="module")
def shipped() -> Tokenizer:
    return Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))


@pytest.fixture(scope="module")
def built() -> Tokenizer:
    return build(lines(1, 300), 768)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("which", ["shipped", "built"])
def test_any_text_comes_back(which: str, text: str, request: pytest.FixtureRequest) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(which)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize("which", ["shipped", "built"])
def test_special_tokens_are_the_first_ids(which: str, request: pytest.FixtureRequest) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(which)
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))
    assert len(tokenizer.encode("".join(SPECIAL_TOKENS)).ids) == len(SPECIAL_TOKENS)


@pytest.mark.parametrize("text", ["GARDEN", "QUARTZ", "907341"])
def test_texts_shown_in_pictures_are_spelled_out(shipped: Tokenizer, text: str) -> None:
    assert shipped.encode(text).tokens == list(text)


def test_the_same_seed_gives_the_same_lines() -> None:
    assert list(lines(2, 40)) == list(lines(2, 40))
