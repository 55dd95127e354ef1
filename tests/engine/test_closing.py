"""Replies that follow a grammar end whole within their tokens, whatever the model would rather go on with."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from llguidance import LLMatcher

from tests.engine.constrained import (
    SCHEMA,
    STOPS,
    TOKENIZER,
    asking,
    card,
    fits,
    grammars,
    ids_of,
    regex,
    schema,
    text_of,
)

ENDLESS = {
    "type": "object",
    "properties": {
        "texts": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "day": {"type": "string", "format": "date"},
        "inner": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
    },
    "required": ["texts", "day", "inner"],
}
TEXT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
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
    grammar = schema(TEXT)
    with card() as found:
        long, short = (
            found.outputs(asking(grammar, seed=3, temperature=0, max_tokens=room)) for room in (80, 40)
        )
    assert len(ids_of(short)) == 40
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


ITEM = {"type": "object", "properties": {f"field_{n}": {"type": "integer"} for n in range(6)}}
ITEMS = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": {**ITEM, "required": list(ITEM["properties"])}}},
    "required": ["items"],
}


@pytest.mark.parametrize("params", [{}, {"num_top_logprobs": 0}, {"frequency_penalty": 1.0}])
def test_no_item_is_begun_that_cannot_be_ended(params: dict[str, Any]) -> None:
    """It takes far more tokens than the list does without it."""
    with card() as found:
        for room in range(16, 150, 3):
            request = asking(schema(ITEMS), seed=room, max_tokens=room, **params)
            outputs = found.outputs(request)
            assert outputs[-1].finish_reason == "stop", text_of(outputs)
            assert all(len(item) >= 6 for item in json.loads(text_of(outputs))["items"])
            begun = tuple(ids_of(outputs)[: len(outputs) // 2])
            again = found.outputs(replace(request, begun=begun))
            assert [*begun, *ids_of(again)] == ids_of(outputs)


def dictated(grammar: str, room: int, begun: str = "") -> str:
    """What becomes of a reply that begins so and then goes on with nothing but the letter a, where it may."""
    constraint = grammars().begin(grammar, forcing=True, begun=(), room=room).result()
    (letter,) = TOKENIZER.encode("a").ids
    told = [*constraint.pieces[0]]
    for token_id in TOKENIZER.encode(begun).ids:
        assert constraint.allowed(STOPS)[token_id]
        told += constraint.accept(token_id)
    while not constraint.over:
        allowed = constraint.allowed(STOPS)
        told += constraint.accept(letter if allowed[letter] else int(allowed.argmax()))
        assert len(told) <= room
    return str(TOKENIZER.decode(told))


def test_a_long_way_to_the_end_is_kept_free() -> None:
    names = [f"a long name of a property {n}" for n in range(60)]
    each = {"type": "object", "properties": {key: {"type": "string"} for key in names}, "required": names}
    assert list(json.loads(dictated(schema(each), 2500))) == names


@pytest.mark.parametrize("num_thoughts", [1, 10, 60, 100, 150])
def test_json_behind_a_long_thought_is_ended_as_well(num_thoughts: int) -> None:
    """It is free to think, and while it does, no way to the end is known."""
    lark = f"start: thought? %json {json.dumps(TEXT)}\nthought[lazy]: /=(?s:.*)END/"
    thought = "=" + "a" * num_thoughts + "END"
    text = dictated(LLMatcher.grammar_from_lark(lark), 200, thought)
    assert json.loads(text.removeprefix(thought))["a"].strip("a") == ""


def test_a_free_text_is_cut_off_as_ever() -> None:
    with card() as found:
        bound, free = (
            found.outputs(asking(grammar, seed=5, max_tokens=30, stop_token_ids=frozenset({0})))
            for grammar in (regex("(?s:.*)"), None)
        )
    assert len(bound) == 30
    assert bound[-1].finish_reason == "length"
    assert len(free) == 30


def test_what_is_whole_with_its_last_token_was_not_cut_off() -> None:
    never = tuple((stop, -100.0) for stop in STOPS)
    with card() as found:
        told = [
            found.outputs(asking(regex("([0-9]{3};)+"), max_tokens=room, logit_bias=never))
            for room in range(4, 13)
        ]
    assert all(re.fullmatch("([0-9]{3};)+", text_of(outputs)) for outputs in told)
    assert {outputs[-1].finish_reason for outputs in told} == {"stop"}
    assert any(len(ids_of(outputs)) == room for room, outputs in enumerate(told, start=4))


def test_what_is_begun_in_a_free_text_is_cut_off_with_it() -> None:
    """The text could end, but it did not: it was cut off."""
    lark = "start: (opened CALL)* TEXT\nopened[lazy]: /(?s:.*)<a>/\nCALL: /[0-9]{40}/\nTEXT: /(?s:.*)/"
    with card() as found:
        bias = tuple((TOKENIZER.token_to_id(letter), 100.0) for letter in "<")
        outputs = found.outputs(asking(LLMatcher.grammar_from_lark(lark), max_tokens=9, logit_bias=bias))
        assert (len(outputs), outputs[-1].finish_reason) == (9, "length")
    begun = TOKENIZER.encode("a<a>").ids
    constraint = grammars().begin(LLMatcher.grammar_from_lark(lark), forcing=True, begun=(), room=9).result()
    told = [token_id for each in begun for token_id in constraint.accept(each)]
    assert told == begun
    assert not constraint.over


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
