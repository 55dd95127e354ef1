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


def test_min_p_drops_what_is_far_less_likely_than_the_best() -> None:
    assert shares(temperature=1, min_p=0.45) == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=0.03)


def drawn(logits: list[float], number: int, prompt_ids: tuple[int, ...] = (), **params: float) -> list[int]:
    sampler = Sampler(SamplingParams(1, temperature=0, **params), prompt_ids)  # type: ignore[arg-type]
    token_ids = []
    for _ in range(number):
        token_ids.append(sampler.sample(np.array(logits, np.float32)))
        sampler.note(token_ids[-1:], num_drawn=1)
    return token_ids


def test_the_frequency_penalty_counts_each_time() -> None:
    assert drawn([3.0, 2.0, 0.0], 6, frequency_penalty=0.4) == [0, 0, 0, 1, 0, 1]


def test_the_presence_penalty_counts_once() -> None:
    assert drawn([3.0, 2.5, 0.0], 5, presence_penalty=1.0) == [0, 1, 0, 0, 0]


def test_the_repetition_penalty_sees_prompt_and_answer() -> None:
    assert drawn([3.0, 2.0, 1.9], 3, (0,), repetition_penalty=2.0) == [1, 2, 0]
    assert drawn([-1.0, -1.5], 1, (0,), repetition_penalty=2.0) == [1]


def test_a_bias_is_added() -> None:
    assert drawn([3.0, 2.0], 2, logit_bias=((1, 5.0),)) == [1, 1]  # type: ignore[arg-type]
    assert drawn([3.0, 2.0], 2, logit_bias=((0, -100.0),)) == [1, 1]  # type: ignore[arg-type]


def test_log_probabilities_are_the_models_own() -> None:
    sampler = Sampler(SamplingParams(1, temperature=0, logit_bias=((0, 100.0),), num_top_logprobs=2))
    token_id = sampler.sample(LOGITS)
    found = sampler.logprobs(LOGITS, token_id)
    assert found is not None
    assert token_id == 0
    assert found.chosen == pytest.approx(np.log(0.05), abs=1e-6)
    assert [id for id, _ in found.top] == [1, 3]
    assert [logprob for _, logprob in found.top] == pytest.approx([np.log(0.5), np.log(0.25)], abs=1e-6)


def test_log_probabilities_are_not_computed_unasked() -> None:
    sampler = Sampler(SamplingParams(1, temperature=0))
    assert sampler.logprobs(LOGITS, sampler.sample(LOGITS)) is None


def test_the_same_seed_draws_the_same_tokens() -> None:
    def draw(seed: int) -> list[int]:
        sampler = Sampler(SamplingParams(1, temperature=1, seed=seed))
        return [sampler.sample(np.zeros(1000, np.float32)) for _ in range(8)]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_a_temperature_next_to_zero_is_greedy() -> None:
    for temperature in (1e-30, 1e-44, 1e-46, 1e-320):
        assert shares(temperature=temperature, draws=10) == [0, 1, 0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_an_error(value: float) -> None:
    with pytest.raises(EngineFailure, match="logits that are not finite"):
        Sampler(SamplingParams(1, temperature=0)).sample(np.full(4, value, np.float32))
