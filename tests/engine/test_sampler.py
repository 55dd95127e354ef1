import numpy as np
import pytest

from backends.base import Array
from gateway.engine.prompt import SamplingParams
from gateway.engine.sampler import Sampler
from gateway.errors import EngineFailure

LOGITS = np.log(np.array([0.05, 0.5, 0.2, 0.25], np.float32))


def shares(logits: Array = LOGITS, draws: int = 4000, **params: float) -> list[float]:
    """How often each id is drawn."""
    sampler = Sampler(SamplingParams(1, seed=1, **params))  # type: ignore[arg-type]
    ids = [sampler.sample(logits) for _ in range(draws)]
    return [ids.count(id) / draws for id in range(len(logits))]


def test_temperature_zero_is_greedy() -> None:
    assert shares(temperature=0, draws=10) == [0, 1, 0, 0]


def test_temperature_one_draws_as_the_model_says() -> None:
    assert shares(temperature=1) == pytest.approx([0.05, 0.5, 0.2, 0.25], abs=0.03)


def test_temperature_sharpens() -> None:
    weights = np.array([0.05, 0.5, 0.2, 0.25]) ** 2
    assert shares(temperature=0.5) == pytest.approx(list(weights / weights.sum()), abs=0.03)


def test_top_k_keeps_the_k_likeliest() -> None:
    assert shares(temperature=1, top_k=2) == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.03)


def test_top_p_keeps_the_smallest_set_that_reaches_p() -> None:
    assert shares(temperature=1, top_p=0.5) == [0, 1, 0, 0]
    assert shares(temperature=1, top_p=0.6) == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.03)


def test_a_nucleus_larger_than_the_first_look_is_exact() -> None:
    logits = np.zeros(5000, np.float32)
    sampler = Sampler(SamplingParams(1, temperature=1, top_p=0.9, seed=3))
    assert len({sampler.sample(logits) for _ in range(30000)}) == pytest.approx(4500, abs=20)


def test_the_same_seed_draws_the_same_tokens() -> None:
    def draw(seed: int) -> list[int]:
        sampler = Sampler(SamplingParams(1, temperature=1, seed=seed))
        return [sampler.sample(np.zeros(1000, np.float32)) for _ in range(8)]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_a_temperature_next_to_zero_is_greedy() -> None:
    assert shares(temperature=1e-30, draws=10) == [0, 1, 0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_an_error(value: float) -> None:
    with pytest.raises(EngineFailure, match="logits that are not finite"):
        Sampler(SamplingParams(1, temperature=0)).sample(np.full(4, value, np.float32))
