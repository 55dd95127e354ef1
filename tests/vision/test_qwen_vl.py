"""How all Qwen-VL families cut pictures."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.vision import reference
from tests.vision.entries import encoder
from tests.vision.pictures import pattern

GOLDEN: dict[str, str] = json.loads(Path(__file__).with_name("golden").joinpath("patches.json").read_text())


@pytest.mark.parametrize("case", GOLDEN)
def test_patches_are_those_of_transformers(case: str) -> None:
    entry, size = case.split()
    width, height = map(int, size.split("x"))
    (pixels,) = encoder(entry).prepare(pattern(width, height)).pixels
    assert reference.digest(pixels.data) == GOLDEN[case]


@pytest.mark.parity
def test_golden_patches_are_what_transformers_cuts_today() -> None:
    assert reference.patch_digests() == GOLDEN


@pytest.mark.parity
@pytest.mark.parametrize("entry", reference.ENTRIES)
def test_every_patch_value_equals_that_of_transformers(entry: str) -> None:
    picture = pattern(33, 57)
    (pixels,) = encoder(entry).prepare(picture).pixels
    expected = reference.patches(picture, encoder(entry).spec)
    np.testing.assert_array_equal(pixels.data, expected, strict=True)
