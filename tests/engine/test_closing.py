"""Replies that follow a grammar end whole within their tokens, whatever the model would rather go on with."""

import json
from dataclasses import replace

import pytest

from gateway.engine.grammar import SLACK
from tests.engine.constrained import SCHEMA, asking, card, fits, ids_of, regex, schema, text_of

ENDLESS = {
    "type": "object",
    "properties": {
        "texts": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "day": {"type": "string", "format": "date"},
        "inner": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
    },
    "required": ["texts", "day", "inner"],
}
LEAST = 48
"""Tokens of the shortest reply to ENDLESS, as this vocabulary writes it."""


@pytest.mark.parametrize("logprobs", [None, 0])
def test_a_reply_is_whole_however_few_tokens_it_may_have(logprobs: int | None) -> None:
    with card() as found:
        for room in range(LEAST, 140, 7):
            request = asking(schema(ENDLESS), seed=room, max_tokens=room, num_top_logprobs=logprobs)
            outputs = found.outputs(request)
            value = json.loads(text_of(outputs))
            assert outputs[-1].finish_reason == "stop"
            assert len(outputs) <= room
            assert sorted(value) == ["day", "inner", "texts"]
            assert len(value["texts"]) >= 2


def test_what_cannot_end_in_so_few_tokens_is_cut_off_and_says_so() -> None:
    with card() as found:
        outputs = found.outputs(asking(schema(ENDLESS), max_tokens=LEAST - 2))
    assert (len(outputs), outputs[-1].finish_reason) == (LEAST - 2, "length")


def test_only_the_end_is_steered() -> None:
    """A string without an end takes what there is, but for the tokens that close it."""
    grammar = schema({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    with card() as found:
        long, short = (
            found.outputs(asking(grammar, seed=3, temperature=0, max_tokens=room)) for room in (80, 40)
        )
    assert 40 - SLACK - 2 <= len(ids_of(short)) <= 40
    same = sum(one == other for one, other in zip(ids_of(long), ids_of(short), strict=False))
    assert same >= len(ids_of(short)) - 4


def test_a_list_of_calls_ends_behind_a_whole_one() -> None:
    with card() as found:
        for room in range(5, 40):
            outputs = found.outputs(asking(regex(r"(<a>[a-z]{2}</a>\n)+"), seed=room, max_tokens=room))
            text = text_of(outputs)
            if outputs[-1].finish_reason == "stop":
                assert text.endswith("</a>\n")
            else:
                assert room < 14, text


def test_a_free_text_is_cut_off_as_ever() -> None:
    with card() as found:
        bound, free = (
            found.outputs(asking(grammar, seed=5, max_tokens=30, stop_token_ids=frozenset({0})))
            for grammar in (regex("(?s:.*)"), None)
        )
    assert len(bound) == 30
    assert bound[-1].finish_reason == "length"
    assert len(free) == 30


def test_a_reply_ends_the_same_way_when_its_worker_died_on_the_way() -> None:
    request = asking(schema(ENDLESS), seed=8, max_tokens=70)
    with card() as found:
        whole = found.outputs(request)
        ids = ids_of(whole)
        for place in range(len(ids) - 25, len(ids)):
            again = found.outputs(replace(request, begun=tuple(ids[:place])))
            assert ids_of(again) == ids[place:]
            assert again[-1].finish_reason == whole[-1].finish_reason


def test_a_schema_with_bounds_is_kept_while_closing() -> None:
    with card() as found:
        for room in range(60, 75):
            assert fits(json.loads(text_of(found.outputs(asking(schema(SCHEMA), room, max_tokens=room)))))
