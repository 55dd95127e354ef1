"""A schema is taken only if it can be kept to, and finding that out harms nobody."""

from time import monotonic
from typing import Any

import pytest

import gateway.chat.schema
from gateway.chat.compiling import MAX_S, compile_apart, compiled
from gateway.chat.schema import UnusableSchema, grammar_of, json_rule

LARGE_PRIME = 99_999_989

HOSTILE: dict[str, dict[str, Any]] = {
    "a large prime": {"type": "integer", "multipleOf": LARGE_PRIME},
    "two that are large together": {
        "allOf": [{"type": "integer", "multipleOf": 9973}, {"type": "integer", "multipleOf": 9967}]
    },
    "one in a property": {"type": "object", "properties": {"items": {"items": {"multipleOf": LARGE_PRIME}}}},
    "one in a choice": {"anyOf": [{"type": "string"}, {"type": "integer", "multipleOf": LARGE_PRIME}]},
    "one in a definition": {
        "$ref": "#/$defs/x",
        "$defs": {"x": {"type": "integer", "multipleOf": LARGE_PRIME}},
    },
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_a_schema_that_takes_all_memory_or_time_takes_none_of_ours(schema: dict[str, Any]) -> None:
    began = monotonic()
    with pytest.raises(UnusableSchema, match="too much work"):
        json_rule(schema)
    assert monotonic() - began < MAX_S + 2


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "multipleOf": 5},
        {"type": "string", "pattern": "^[a-z]{3}[0-9]*$", "maxLength": 9},
        {"type": "string", "format": "date-time"},
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 1000},
        {"allOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "null"}}}]},
    ],
)
def test_what_takes_little_is_taken(schema: dict[str, Any]) -> None:
    assert json_rule(schema).startswith("%json ")


def test_both_ways_to_compile_say_the_same() -> None:
    for lark in ('start: %json {"type": "string"}', "start: nothing", 'start: %json {"enum": []}'):
        assert compile_apart(grammar_of(lark)) == compiled(grammar_of(lark))


def test_ordinary_schemas_need_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.chat.schema, "compile_apart", None)
    optional = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "title": "Who"}
    schema = {
        "type": "object",
        "description": "A call.",
        "properties": {
            "who": optional,
            "pattern": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "what": {"$ref": "#/$defs/What"},
        },
        "required": ["what"],
        "additionalProperties": False,
        "$defs": {"What": {"type": "object", "properties": {"kind": {"enum": ["a", "b"]}}}},
    }
    assert json_rule(schema)


def test_reasons_are_short() -> None:
    patterns = [{"type": "string", "pattern": f"a{{{number}}}.*b.*{number}"} for number in range(16)]
    with pytest.raises(UnusableSchema) as error:
        json_rule({"allOf": patterns})
    assert len(str(error.value)) <= 301
