"""Logits -> one token id."""

import numpy as np

from backends.base import Array
from gateway.engine.prompt import SamplingParams
from gateway.errors import EngineFailure

FIRST_LOOK = 1024  # a nucleus is nearly always among this many; sorting 150,000 logits costs 10 ms


class Sampler:
    """Draws for one generation: temperature, then top-k, then top-p, as transformers orders its warpers.

    With a seed the draws are repeatable; ties in greedy decoding go to the lowest id.
    """

    def __init__(self, params: SamplingParams) -> None:
        self._params = params
        self._random = np.random.default_rng(params.seed)

    def sample(self, logits: Array) -> int:
        """logits: (vocab,) float32; raises EngineFailure where they hold no numbers to choose from."""
        best = logits.max()
        if not np.isfinite(best):
            raise EngineFailure("The model gave logits that are not finite.")
        if self._params.temperature == 0:
            return int(logits.argmax())
        ids = self._top_k(logits)
        with np.errstate(over="ignore"):  # a temperature near 0 sends all but the best to minus infinity
            scaled = (logits[ids] - best) / np.float32(self._params.temperature)
        weights = np.exp(scaled).astype(np.float64)
        if self._params.top_p < 1:
            kept = _nucleus(weights, self._params.top_p)
            ids, weights = ids[kept], weights[kept]
        cumulative = np.cumsum(weights)
        place = np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        return int(ids[min(int(place), len(ids) - 1)])

    def _top_k(self, logits: Array) -> Array:
        top_k = self._params.top_k
        if 0 < top_k < logits.size:
            return np.argpartition(logits, -top_k)[-top_k:]
        return np.arange(logits.size)


def _nucleus(weights: Array, top_p: float) -> Array:
    """Places of the smallest set of largest weights that holds at least `top_p` of the sum."""
    goal = top_p * weights.sum()
    for look in (FIRST_LOOK, weights.size):
        look = min(look, weights.size)
        largest = np.argpartition(weights, -look)[-look:]
        largest = largest[np.argsort(-weights[largest], kind="stable")]
        held = np.cumsum(weights[largest])
        if held[-1] >= goal:
            break
    return largest[: int(np.searchsorted(held, goal)) + 1]
