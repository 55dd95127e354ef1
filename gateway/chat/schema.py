"""JSON schemas of clients -> what a reply is held to, by llguidance."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from gateway.chat.compiling import compile_apart, compiled
from gateway.errors import cut

MAX_SCHEMA = 200_000
"""Letters of a schema, written as JSON."""
MAX_PROPERTIES = 1000
"""Of one object. The time to compile grows with the square of their number: a thousand take 0.1 s."""

MAX_LEVELS = 1000
"""Of a schema whose references are all within each other. The library goes down them on the stack of a
thread; the usual 8 MB of that end at about twice as many, and the process with them."""

_SHAPE = ("type", "properties", "required", "additionalProperties", "items", "enum", "const", "nullable")
_BOUND = ("anyOf", "$ref", "$defs", "definitions", "minimum", "maximum")
_WORDS = ("title", "description", "default", "examples", "$schema")
PLAIN = {*_SHAPE, *_BOUND, *_WORDS}
"""Keywords of schemas that are compiled right here. Others can take any time, or the whole process with them,
such as a multipleOf of a large prime."""
MAX_PLAIN = 64
"""Levels of such a schema."""

# On one line, with the blanks that models write: what is left to choose is only what is said. A small
# model that may write more blanks writes as many as it may.
_FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

_UNSUPPORTED = re.compile(r"Unimplemented keys: \[(.*)\]")
# Clients send the same tools with every request; of large schemas, only the last ones are remembered.
_SMALL = 4096

MAX_REASON = 300
"""Letters of what the library says of a schema."""

_BEFORE = "failed to compile JSON schema: "

Writer = Callable[[Mapping[str, Any], bool], str]
"""`json_rule`, or `unproven_rule`."""


class UnusableSchema(ValueError):
    """Its text is a sentence that says why."""


def json_rule(schema: Mapping[str, Any], lenient: bool = False) -> str:
    """The Lark expression (llguidance's dialect) for a JSON value that keeps to a schema. Of oneOf, more than
    one may hold. `lenient`: keywords that cannot be held to are left out. Raises UnusableSchema."""
    rule = unproven_rule(schema, lenient)
    if fault := rules_fault((f"start: {rule}",), is_plain(schema)):
        raise UnusableSchema(fault)
    return rule


def unproven_rule(schema: Mapping[str, Any], lenient: bool = False) -> str:
    """The same, of which only the size is known to be usable."""
    options = {**_FORM, "coerce_one_of": True, "lenient": lenient}
    try:
        rule = f"%json {json.dumps({**schema, 'x-guidance': options})}"
    except (ValueError, RecursionError) as error:
        raise UnusableSchema(f"It is nested too deep: {error}.") from error
    if len(rule) > MAX_SCHEMA:
        raise UnusableSchema(f"It is {len(rule)} letters of JSON, and at most {MAX_SCHEMA} are taken.")
    _check_size(schema)
    return rule


def rules_fault(rules: Sequence[str], plain: bool) -> str:
    """Why a grammar without the markers of a model cannot be followed, or nothing. `plain`: all schemas in it
    are."""
    lark = "\n".join(rules)
    return (_fault_of_small if len(lark) < _SMALL else _fault_of_large)(lark, plain)


def grammar_of(lark: str) -> str:
    """In the form that SamplingParams.grammar has."""
    return json.dumps({"grammars": [{"lark_grammar": lark}]})


def _check_size(schema: Mapping[str, Any]) -> None:
    waiting: list[tuple[object, int]] = [(schema, 1)]
    depth, targets = 0, set()
    while waiting:
        each, level = waiting.pop()
        depth = max(depth, level)
        if isinstance(each, Mapping):
            properties = each.get("properties")
            if isinstance(properties, Mapping) and len(properties) > MAX_PROPERTIES:
                raise UnusableSchema(
                    f"An object in it has {len(properties)} properties, and at most {MAX_PROPERTIES} are "
                    "taken."
                )
            targets.add(str(each.get("$ref")))
            waiting += ((value, level + 1) for value in each.values())
        elif isinstance(each, list | tuple):
            waiting += ((value, level + 1) for value in each)
    if depth * len(targets) > MAX_LEVELS:
        raise UnusableSchema(
            f"It is nested {depth} deep, with {len(targets) - 1} different $ref in it, and at most "
            f"{MAX_LEVELS} levels are taken when all of them are within each other."
        )


def is_plain(schema: object, level: int = 0) -> bool:
    """Whether it has nothing in it but what costs as little as it looks."""
    if not isinstance(schema, Mapping) or level > MAX_PLAIN:
        return isinstance(schema, bool)
    inner: list[object] = [schema[key] for key in ("items", "additionalProperties") if key in schema]
    for key in ("properties", "$defs", "definitions"):
        named = schema.get(key, {})
        inner += named.values() if isinstance(named, Mapping) else [named]
    choices = schema.get("anyOf", [])
    inner += choices if isinstance(choices, list) else [choices]
    return schema.keys() <= PLAIN and all(is_plain(each, level + 1) for each in inner)


def _found_fault(lark: str, plain: bool) -> str:
    grammar = grammar_of(lark)
    error = compiled(grammar) if plain else compile_apart(grammar)
    if error is None:
        return "It is too much work to keep to it."
    return _reason(error) if error else ""


_fault_of_small = lru_cache(1024)(_found_fault)
_fault_of_large = lru_cache(32)(_found_fault)


def _reason(error: str) -> str:
    """llguidance's own words, without its grammar around them."""
    text = error.partition("\n   1 | ")[0].partition("\n<state>")[0].rpartition(_BEFORE)[2].strip()
    if text.startswith("NoExtension"):
        return "There is no JSON that satisfies it."
    if "recursion limit exceeded" in text:
        return "It is nested too deep."
    if unsupported := _UNSUPPORTED.search(text):
        return f"These keywords are not supported: {unsupported[1]}."
    text = cut(text, MAX_REASON)
    return text if text.endswith(".") else f"{text}."
