"""The shipped demo pictures: small files that the generator made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.demo_pictures import SIZE, demo_scenes
from training.text_questions import written
from training.words import HELD_OUT_WORDS

PICTURES = Path(__file__).parents[2] / "gateway" / "demo" / "pictures"


@pytest.mark.parametrize("name", demo_scenes())
def test_a_demo_picture_is_what_the_script_draws(name: str) -> None:
    with Image.open(PICTURES / name) as shipped:
        assert (shipped.size, shipped.mode) == ((SIZE, SIZE), "RGB")
        drawn = demo_scenes()[name].render(SIZE)
        # another FreeType may smooth letters a little differently
        assert np.abs(np.asarray(shipped, dtype=np.int16) - np.asarray(drawn, dtype=np.int16)).mean() < 1


def test_demo_pictures_are_small_files() -> None:
    files = list(PICTURES.iterdir())
    assert {file.name for file in files} == set(demo_scenes())
    assert all(file.stat().st_size <= 20_000 for file in files)


def test_the_word_shown_is_one_that_training_never_showed() -> None:
    assert written(demo_scenes()["word.png"]).text in HELD_OUT_WORDS
