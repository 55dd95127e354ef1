"""What a grammar dictates is not sampled, and costs no logits."""

from dataclasses import replace
from typing import Any

import pytest
from llguidance import LLMatcher

from gateway.engine.generation import PREFILL_FROM
from tests.engine.constrained import (
    CALL,
    CHUNK,
    ROWS,
    SCHEMA,
    TOKENIZER,
    asking,
    call,
    card,
    ids_of,
    schema,
    text_of,
)


def test_what_is_dictated_runs_no_head() -> None:
    asked = asking(call("[a-z]{3}"), temperature=0)
    with card() as found:
        before = found.emulator.counters.copy()
        outputs = found.outputs(asked)
        layers = found.decoder.info.num_layers
        executes = (found.emulator.counters - before).calls["engine_execute"]
        runs = [number for number in found.runs if number]
    assert text_of(outputs).startswith(CALL)
    assert outputs[-1].finish_reason == "stop"
    num_heads = executes - layers * len(runs)
    dictated = len(TOKENIZER.encode(CALL).ids)
    assert dictated > 40
    # What the reply begins with is one with the prompt.
    assert runs[:5] == [16, 16, 16, 16, 20 + dictated - 64]
    assert num_heads <= 3  # the letters
    assert num_heads < 0.1 * len(outputs)


def test_a_long_run_of_dictated_tokens_is_prefilled_and_a_short_one_decoded() -> None:
    grammar = LLMatcher.grammar_from_lark('start: A ": a run of words" A "it" A\nA: "x" | "y"')
    with card() as found:
        outputs = found.outputs(asking(grammar, num_tokens=4))
    assert text_of(outputs)[1:-4] == ": a run of words"
    short = 1 + len(TOKENIZER.encode("it").ids)
    long = len(outputs) - short - 1
    assert short < PREFILL_FROM < long <= CHUNK
    assert found.runs == [4, 0, long, 0, *[1] * short, 0]


@pytest.mark.parametrize("params", [{"temperature": 0}, {}, {"presence_penalty": 1.0, "top_p": 0.9}])
@pytest.mark.parametrize("grammar", [schema(SCHEMA), call(), None])
def test_log_probabilities_change_nothing_of_the_reply(grammar: str | None, params: dict[str, Any]) -> None:
    """Though with them nothing is dictated, and each token takes a draw."""
    with card() as found:
        for seed in range(5):
            asked = asking(grammar, seed, max_tokens=40, **params)
            plain = found.outputs(asked)
            found.engine._sessions.clear()
            shown = found.outputs(replace(asked, sampling=replace(asked.sampling, num_top_logprobs=0)))
            assert ids_of(shown) == ids_of(plain)
            assert all(output.logprobs for output in shown if output.token_id is not None)
            assert not any(output.logprobs for output in plain)
            found.engine._sessions.clear()


LONELY = {
    "greedy": {"temperature": 0},
    "seeded": {},
    "with penalties": {"frequency_penalty": 1.0, "repetition_penalty": 1.3},
    "cut": {"max_tokens": 24},
    "with log probabilities": {"num_top_logprobs": 1},
}


@pytest.mark.parametrize("params", LONELY.values(), ids=LONELY)
@pytest.mark.parametrize("grammar", [schema(SCHEMA), call()])
def test_another_engine_goes_on_where_one_was_lost(grammar: str, params: dict[str, Any]) -> None:
    """To the bit, and in the very same runs, wherever in a dictated run it was lost."""
    asked = asking(grammar, 3, **params)
    with card() as found:
        whole, runs = found.outputs(asked), found.runs
        (session,) = found.engine._sessions
        keys = list(session.keys)
        assert session.cache is not None
        rows = session.cache.save()
    begun = ids_of(whole)
    for place in range(len(whole)):
        with card() as found:
            again = found.outputs(replace(asked, begun=tuple(begun[:place])))
            assert again == whole[place:]
            (session,) = found.engine._sessions
            # What ends a reply is known with the token before it, and only computed if it was not told then.
            assert session.keys[: len(keys)] == keys
            assert session.cache is not None
            session.truncate(len(keys))
            assert (session.cache.save() == rows).all()
            layers = [run for run in runs if run]
            assert [run for run in found.runs if run][: len(layers)] == layers


def test_what_cannot_be_repeated_is_prefilled_with_what_follows_it() -> None:
    asked = asking(call("[a-z]{6}"), seed=None, num_tokens=4)
    with card() as found:
        whole = found.outputs(asked)
    begun = tuple(ids_of(whole)[:12])
    with card() as found:
        rest = found.outputs(replace(asked, begun=begun))
        assert text_of(whole[:12]) + text_of(rest) != ""
        assert found.runs[0] == 16
        assert rest[0].num_completion_tokens == 13
    text = TOKENIZER.decode([*begun, *ids_of(rest)])
    assert text.startswith(CALL)
    assert text.endswith('"}}')


@pytest.mark.parametrize("max_tokens", range(1, 30))
def test_no_more_tokens_than_asked_for(max_tokens: int) -> None:
    with card() as found:
        outputs = found.outputs(asking(call(), max_tokens=max_tokens))
    assert (len(outputs), outputs[-1].finish_reason) == (max_tokens, "length")
    assert (text_of(outputs) + CALL).startswith(text_of(outputs))
    assert CALL.startswith(text_of(outputs)) or text_of(outputs).startswith(CALL)


@pytest.mark.parametrize("num_left", [1, 2, 5, 17])
def test_the_reply_ends_at_the_end_of_the_context(num_left: int) -> None:
    with card() as found:
        outputs = found.outputs(asking(call(), num_tokens=ROWS - num_left))
    assert (len(outputs), outputs[-1].finish_reason) == (num_left + 1, "length")
