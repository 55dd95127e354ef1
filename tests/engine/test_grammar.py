"""Whatever a model of random weights would rather say, its replies follow their grammars."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from llguidance import LLMatcher, LLParserLimits

import gateway.engine.grammar
from gateway.engine.engine import Failed
from gateway.engine.grammar import LIMITS, Constraint, Grammars
from gateway.engine.prompt import Output, Request
from gateway.errors import EngineFailure, GatewayError, InvalidRequest
from tests.engine.constrained import (
    SCHEMA,
    STOPS,
    TOKENIZER,
    asking,
    call,
    card,
    fits,
    grammars,
    regex,
    schema,
    text_of,
)
from tests.engine.test_client import said, started
from tests.packages import VOCAB

SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "seeded": {},
    "hot": {"temperature": 2.0, "top_p": 0.9, "min_p": 0.01},
    "few": {"top_k": 2},
    "with penalties": {"frequency_penalty": 2.0, "presence_penalty": 1.5, "repetition_penalty": 1.5},
    "with log probabilities": {"num_top_logprobs": 2},
    "with a bias": {"logit_bias": ((5, 100.0), (0, 100.0), (700, 100.0))},
}


@pytest.mark.parametrize("params", SAMPLINGS.values(), ids=SAMPLINGS)
def test_what_a_model_of_random_weights_says_fits_the_schema(params: dict[str, Any]) -> None:
    with card() as found:
        ended = 0
        for seed in range(12):
            outputs = found.outputs(asking(schema(SCHEMA), seed, **params))
            assert outputs[-1].finish_reason == "stop"
            assert fits(json.loads(text_of(outputs))), text_of(outputs)
            ended += 1
        assert ended == 12


def test_json_with_blanks_and_nothing_said_of_it_parses() -> None:
    grammar = schema({"type": "object"}, blanks=True)
    with card() as found:
        told = [found.outputs(asking(grammar, seed, max_tokens=200)) for seed in range(20)]
    finished = [text_of(outputs) for outputs in told if outputs[-1].finish_reason == "stop"]
    assert len(finished) >= 3
    assert all(isinstance(json.loads(text), dict) for text in finished)


def test_a_reply_without_any_choice_runs_no_head_at_all() -> None:
    with card() as found:
        outputs = found.outputs(asking(schema({"const": "only this"}), temperature=0))
        assert (text_of(outputs), outputs[-1].finish_reason) == ('"only this"', "stop")
        assert 0 not in found.runs
        assert found.told(asking(regex("")))["a"] == [Output("a", None, "stop", 0, 19)]


def test_where_the_reply_may_end_each_stop_token_may_come_and_nowhere_else() -> None:
    (a,) = TOKENIZER.encode("a").ids
    (b,) = TOKENIZER.encode("b").ids
    constraint = grammars().begin(regex("(a|b)b?"), forcing=True, begun=(), room=9).result()
    stops = frozenset({2, b, 10**6})  # also one that is a letter, and one that the model has not

    def allowed() -> list[int]:
        return [int(token_id) for token_id in constraint.allowed(stops).nonzero()[0]]

    assert allowed() == [a]
    constraint.accept(a)
    assert allowed() == sorted([2, b])
    assert not constraint.over


@pytest.mark.parametrize("stop", sorted(STOPS))
def test_a_stop_token_ends_a_reply_that_may_end(stop: int) -> None:
    grammar, bias = regex("[a-z]*"), ((stop, 100.0),)
    with card() as found:
        (output,) = found.outputs(asking(grammar, logit_bias=bias))
        assert output == Output("a", None, "stop", 1, 0)
        outputs = found.outputs(asking(regex("[a-z]{5}[a-z]*"), logit_bias=bias))
        assert (outputs[-1].token_id, outputs[-1].finish_reason, len(text_of(outputs)) >= 5) == (
            None,
            "stop",
            True,
        )


def test_a_reply_that_must_end_ends_without_a_token_for_it() -> None:
    with card() as found:
        outputs = found.outputs(asking(regex("[a-z]{4}"), stop_token_ids=frozenset()))
    assert (len(text_of(outputs)), outputs[-1].finish_reason) == (4, "stop")
    assert outputs[-1].token_id is not None


TIGHT = LLParserLimits(step_lexer_fuel=1, verbose_errors=False)
WRONG: dict[str, tuple[Request, LLParserLimits, type[GatewayError], str]] = {
    "no grammar": (asking("{"), LIMITS, InvalidRequest, "The grammar of the reply cannot be used: "),
    "no text": (asking("\ud800"), LIMITS, InvalidRequest, "The grammar of the reply cannot be used: "),
    "too much work": (
        asking(regex("a.*b|(a+c)*")),
        TIGHT,
        EngineFailure,
        "The grammar of the reply cannot be followed any further: lexer error",
    ),
    "a stop token in the midst": (
        asking(LLMatcher.grammar_from_lark('start: "a" <|im_end|> "b"'), num_top_logprobs=0),
        LIMITS,
        EngineFailure,
        "The grammar of the reply allows no token of this model.",
    ),
    "nothing but what the model excludes": (
        asking(regex("b|c"), logit_bias=tuple((TOKENIZER.token_to_id(letter), -np.inf) for letter in "bc")),
        LIMITS,
        EngineFailure,
        "The model excludes all tokens that the grammar of the reply allows.",
    ),
}


@pytest.mark.parametrize(("asked", "limits", "kind", "words"), WRONG.values(), ids=WRONG)
def test_a_grammar_that_is_of_no_use_fails_alone(
    asked: Request,
    limits: LLParserLimits,
    kind: type[GatewayError],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good, free = replace(asking(schema(SCHEMA)), id="b"), replace(asking(None, max_tokens=9), id="c")
    with card() as found:
        monkeypatch.setattr(gateway.engine.grammar, "LIMITS", limits)
        found.engine.submit(asked)
        results: list[Output | Failed] = []
        while not found.engine.idle:  # before the others come, whose limits are not so tight
            results += found.engine.step()
        monkeypatch.undo()
        told = found.told(good, free)
    failed = results[-1]
    assert isinstance(failed, Failed)
    assert type(failed.error) is kind
    assert failed.error.message.startswith(words)
    assert "\n" not in failed.error.message
    for id in "bc":
        assert isinstance(told[id][-1], Output)
    assert fits(json.loads(text_of([each for each in told["b"] if isinstance(each, Output)])))


def test_a_tokenizer_of_an_unknown_kind_is_of_no_use(tmp_path: Path) -> None:
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    words.save(str(tmp_path / "tokenizer.json"))
    for folder in (tmp_path, tmp_path / "nothing"):
        assert not Grammars(folder, VOCAB).usable
    assert grammars().usable


def test_a_free_reply_never_comes_near_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with card() as found:
        before = found.outputs(asking(None, max_tokens=20))
    for name in ("LLMatcher", "Constraint"):
        monkeypatch.setattr(gateway.engine.grammar, name, None)
    with card() as found:
        assert found.outputs(asking(None, max_tokens=20)) == before


def test_free_and_bound_replies_side_by_side_are_what_they_are_alone() -> None:
    asked = [
        replace(
            asking([schema(SCHEMA), None, call()][n % 3], n, max_tokens=60, num_tokens=10 + 3 * n), id=str(n)
        )
        for n in range(6)
    ]
    alone: dict[str, list[Output | Failed]] = {}
    for one in asked:
        with card() as found:
            alone |= found.told(one)
    with card() as found:
        assert found.told(*asked) == alone
    with card(max_sessions=2) as found:
        assert found.told(*asked) == alone


def test_others_go_on_while_a_grammar_is_made_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Constraint):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            time.sleep(0.5)
            super().__init__(*args, **kwargs)

    with card() as found:
        monkeypatch.setattr(gateway.engine.grammar, "Constraint", Slow)
        found.engine.submit(replace(asking(schema(SCHEMA)), id="slow"))
        found.engine.submit(replace(asking(None, max_tokens=10, stop_token_ids=frozenset()), id="free"))
        order: list[str] = []
        while not found.engine.idle:
            order += [result.request_id for result in found.engine.step()]
        assert order[:10] == ["free"] * 10
        assert set(order[10:]) == {"slow"}


def test_a_request_that_leaves_while_its_grammar_is_made_ready_is_gone() -> None:
    with card() as found:
        found.engine.submit(asking(schema(SCHEMA)))
        found.engine.cancel("a")
        assert (found.engine.idle, found.engine.step(), found.runs) == (True, [], [])


def test_a_worker_holds_each_reply_to_its_own_grammar() -> None:
    async def run() -> None:
        async with started() as client:
            asked = [
                replace(asking(schema(SCHEMA), 1, num_tokens=6), id="1"),
                replace(asking(schema({"enum": ["yes", "no"]}), 2, num_tokens=6), id="2"),
            ]
            bound, chosen = await asyncio.gather(*(said(client, one) for one in asked))
            assert fits(json.loads(text_of(bound)))
            assert text_of(chosen) in ('"yes"', '"no"')
            with pytest.raises(InvalidRequest, match="The grammar of the reply cannot be used: "):
                await said(client, replace(asking("{"), id="3"))
            assert len(await said(client, asking(None, max_tokens=3))) == 3

    asyncio.run(run())
