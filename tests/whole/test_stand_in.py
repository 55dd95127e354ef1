import numpy as np
import pytest

from tests.whole.stand_in import CASES, GOLDEN, expected, path, question
from tests.whole.test_whole_path import LOGIT_BOUND


@pytest.mark.parametrize("name", CASES)
def test_a_package_finds_its_entry_and_its_logits_are_those_of_transformers(name: str) -> None:
    with np.load(GOLDEN) as arrays, path(name) as (files, found):
        assert found.encoder is not None
        assert found.encoder.name == CASES[name].entry
        asked = question(name, files, found)
        assert asked.images[0].span.num_tokens == CASES[name].num_rows
        found.say(asked, num_tokens=1)
        wanted = arrays[name]
    assert np.abs(found.logits[0] - wanted).max() <= LOGIT_BOUND * wanted.std()


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", CASES)
def test_the_golden_file_is_what_transformers_says(name: str) -> None:
    with np.load(GOLDEN) as arrays, path(name) as (files, found):
        np.testing.assert_allclose(expected(name, question(name, files, found)), arrays[name], atol=0.05)
