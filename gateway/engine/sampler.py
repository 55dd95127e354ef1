"""Logits -> one token id."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from backends.base import Array
from gateway.engine.prompt import Logprobs, SamplingParams
from gateway.errors import EngineFailure

FIRST_LOOK = 1024  # a nucleus is nearly always among this many; sorting 150,000 logits costs 10 ms


class Sampler:
    """Draws for one generation: bias and penalties, temperature, top-k, top-p, min-p, in this order.

    With a seed the draws are repeatable; ties in greedy decoding go to the lowest id. `prompt_ids` are for
    the repetition penalty.
    """

    def __init__(self, params: SamplingParams, prompt_ids: Iterable[int] = ()) -> None:
        self._params = params
        self._random = np.random.default_rng(params.seed)
        self._prompt_ids = frozenset(prompt_ids) if params.repetition_penalty != 1 else frozenset()
        self._generated: Counter[int] = Counter()

    def note(self, token_ids: Sequence[int], num_drawn: int = 0) -> None:
        """More tokens of the reply, the first `num_drawn` in the place of draws from here. The others take a
        draw each all the same, so that it does not matter to what follows where a token comes from."""
        self._random.random(len(token_ids[num_drawn:]))
        self._generated.update(token_ids)

    def sample(self, logits: Array, allowed: Array | None = None) -> int:
        """logits: (vocab,) float32; allowed: (vocab,) bool with any true, None for all. Raises EngineFailure
        where there are no numbers to choose from."""
        if not np.isfinite(logits.max()):
            raise EngineFailure("The model gave logits that are not finite.")
        adjusted = self._adjusted(logits)
        if allowed is None:
            token_id = self._draw(adjusted)
        else:
            (token_ids,) = allowed.nonzero()
            if not np.isfinite(adjusted[token_ids].max()):
                raise EngineFailure("The model excludes all tokens that the grammar of the reply allows.")
            token_id = int(token_ids[self._draw(adjusted[token_ids])])
        return token_id

    def logprobs(self, logits: Array, token_id: int) -> Logprobs | None:
        """Of the model's own distribution, if they were asked for."""
        number = self._params.num_top_logprobs
        if number is None:
            return None
        shifted = logits.astype(np.float64) - logits.max()
        logprobs = shifted - np.log(np.exp(shifted).sum())
        best = _top(logprobs, min(number, logprobs.size)) if number else np.zeros(0, np.int64)
        best = best[np.argsort(-logprobs[best], kind="stable")]
        return Logprobs(float(logprobs[token_id]), tuple((int(id), float(logprobs[id])) for id in best))

    def _adjusted(self, logits: Array) -> Array:
        params = self._params
        penalised = params.frequency_penalty or params.presence_penalty or params.repetition_penalty != 1
        if not penalised and not params.logit_bias:
            return logits
        logits = logits.copy()
        if params.repetition_penalty != 1:
            seen = np.array(sorted(self._prompt_ids | self._generated.keys()), np.int64)
            factor = np.where(logits[seen] > 0, 1 / params.repetition_penalty, params.repetition_penalty)
            logits[seen] *= factor.astype(np.float32)
        for token_id, times in self._generated.items():
            logits[token_id] -= params.frequency_penalty * times + params.presence_penalty
        for token_id, bias in params.logit_bias:
            logits[token_id] += bias
        return logits

    def _draw(self, logits: Array) -> int:
        params = self._params
        temperature = np.float32(params.temperature)
        if temperature == 0:
            return int(logits.argmax())
        ids = _top(logits, params.top_k) if 0 < params.top_k < logits.size else np.arange(logits.size)
        with np.errstate(over="ignore"):  # a temperature near 0 sends all but the best to minus infinity
            scaled = (logits[ids] - logits.max()) / temperature
        weights = np.exp(scaled).astype(np.float64)
        if params.top_p < 1:
            kept = _nucleus(weights, params.top_p)
            ids, weights = ids[kept], weights[kept]
        if params.min_p > 0:
            kept = weights >= params.min_p * weights.max()
            ids, weights = ids[kept], weights[kept]
        cumulative = np.cumsum(weights)
        place = np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        return int(ids[min(int(place), len(ids) - 1)])


def _top(values: Array, number: int) -> Array:
    """Places of the `number` largest values, in no order."""
    return np.argpartition(values, -number)[-number:]


def _nucleus(weights: Array, top_p: float) -> Array:
    """Places of the smallest set of largest weights that holds at least `top_p` of the sum."""
    goal = top_p * weights.sum()
    for look in (FIRST_LOOK, weights.size):
        largest = _top(weights, min(look, weights.size))
        largest = largest[np.argsort(-weights[largest], kind="stable")]
        held = np.cumsum(weights[largest])
        if held[-1] >= goal:
            break
    return largest[: int(np.searchsorted(held, goal)) + 1]
