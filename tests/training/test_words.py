"""Words: what is held out stays held out."""

from __future__ import annotations

import random

from training.words import (
    EASY,
    HELD_OUT_WORDS,
    MEASURING,
    TEACHING,
    TRAINING_WORDS,
    random_number,
    random_word,
)


def test_no_held_out_word_is_a_training_word() -> None:
    assert not set(HELD_OUT_WORDS) & set(TRAINING_WORDS)


def test_no_held_out_word_hides_in_a_training_word() -> None:
    assert not [word for word in TRAINING_WORDS if any(held in word for held in HELD_OUT_WORDS)]


def test_training_words_are_two_to_six_capital_letters_and_each_is_listed_once() -> None:
    assert all(2 <= len(word) <= 6 and word.isascii() and word.isalpha() for word in TRAINING_WORDS)
    assert all(word.isupper() for word in (*TRAINING_WORDS, *HELD_OUT_WORDS))
    assert len(set(TRAINING_WORDS)) == len(TRAINING_WORDS) > 1000


def test_no_drawn_word_is_held_out() -> None:
    rng = random.Random(0)
    drawn = {random_word(rng, TEACHING) for _ in range(20_000)}
    assert not drawn & set(HELD_OUT_WORDS)
    assert {len(word) for word in drawn} == {2, 3, 4, 5, 6}


def test_numbers_do_not_begin_with_zero() -> None:
    rng = random.Random(0)
    drawn = [random_number(rng, mix) for mix in (MEASURING, TEACHING, EASY) for _ in range(500)]
    assert all(number.isdigit() and number[0] != "0" and len(number) <= 6 for number in drawn)
