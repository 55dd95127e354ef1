"""What a reply must be, as a grammar: calls of tools, JSON, or a text in which only the calls are bound."""

import json
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any, Literal

from gateway.chat.conversation import JsonReply, Tool, ToolUse
from gateway.chat.dialect import Dialect
from gateway.chat.schema import (
    MAX_SCHEMA,
    UnusableSchema,
    Writer,
    grammar_of,
    is_plain,
    json_rule,
    rules_fault,
    unproven_rule,
)
from gateway.chat.segments import END_OF_THINK, THINK
from gateway.chat.tagged_grammar import MORE, VALUE, tagged_rules
from gateway.chat.tokenizer import Tokenizer
from gateway.errors import InvalidRequest

Reasoning = Literal["begun", "possible", "none"]
"""Whether a reply begins inside of reasoning, may begin with it, or does not reason."""

ANY_OBJECT = {"type": "object"}

MAX_S = 10.0
"""How long the schemas of one request's tools may take."""


class GrammarWriter:
    """Writes grammars in llguidance's dialect of Lark. `lead` is what replies may begin with.

    A schema is held to where the client relies on it: the reply's, that of a tool that must be called, and
    of a `strict` one. Other tools' schemas are held to as far as they can be. The prompt says nothing of
    the reply's schema: as at OpenAI, it is the client that tells the model what it wants.
    """

    def __init__(self, tokenizer: Tokenizer, dialect: Dialect, lead: str = "") -> None:
        self._tokenizer = tokenizer
        self._dialect = dialect
        self._lead = lead

    def grammar(
        self, tools: Sequence[Tool], use: ToolUse | None, reply: JsonReply | None, reasoning: Reasoning
    ) -> str | None:
        """None where nothing is bound. `use` is None where the model is told of no tools. Raises
        InvalidRequest naming the schema that cannot be held to, and why."""
        if use is None and reply is None:
            return None
        rules = ["TEXT: /(?s:.*)/"]
        calls = use is not None and any(tool.name in use.allowed for tool in tools)
        if use is not None and calls:
            rules += self._calls(tools, use, tagged=reply is not None)
        if use is not None and calls and use.required:
            bound = "calls"
        elif reply is not None:
            rules.append(f"json: {self._json(reply)}")
            bound = "(calls | json)" if calls else "json"
        else:
            rules += self._free(use if calls else None)
            bound = "free"
        if self._lead and bound != "free":
            bound = f"{_json(self._lead)}? {bound}"
        rules += [f"start: {self._thinking(reasoning)} {bound}", *self._think(reasoning)]
        return grammar_of("\n".join(rules))

    def _calls(self, tools: Sequence[Tool], use: ToolUse, tagged: bool) -> list[str]:
        """`call` is one with its markers, `object` without them. `tagged`: a marker must tell it from other
        JSON."""
        dialect = self._dialect
        named = {place: tool for place, tool in enumerate(tools) if tool.name in use.allowed}
        rules = self._objects(named, {place for place, tool in named.items() if use.required or tool.strict})
        if dialect.bare:
            tag = self._marker(dialect.begin) if tagged and not use.required else ""
            return [*rules, f"calls: {tag} object"]
        written = f'{self._marker(dialect.begin)} "\\n" object "\\n" {self._marker(dialect.end)}'
        more = '("\\n" call)*' if use.parallel else ""
        return [*rules, f"call: {written}", f"calls: call {more}"]

    def _objects(self, named: Mapping[int, Tool], held: Set[int]) -> list[str]:
        """A rule for the object of each tool, and one for any of them. Raises InvalidRequest naming the tool
        whose schema cannot be held to, though it must be."""
        with suppress(InvalidRequest):  # all at once: to prove one may take a tenth of a second
            return self._proven(named, held, unproven_rule)
        with suppress(InvalidRequest):
            return self._proven(named, held, json_rule)
        loose = {place: replace(named[place], parameters=ANY_OBJECT) for place in named.keys() - held}
        return self._proven({**named, **loose}, held, json_rule)

    def _proven(self, named: Mapping[int, Tool], held: Set[int], write: Writer) -> list[str]:
        """Schemas that need not be held to are left out where they are too much together."""
        until_s, num_letters = monotonic() + MAX_S, 0
        rules, proof = [VALUE] if self._dialect.tagged else [], []
        for place, tool in sorted(named.items(), key=lambda each: each[0] not in held):
            if num_letters > MAX_SCHEMA or monotonic() > until_s:
                if place in held:
                    raise _too_large(f"They are more than {MAX_SCHEMA} letters of JSON, or take too long.")
                tool = replace(tool, parameters=ANY_OBJECT)
            arguments = self._arguments(place, tool, place in held, write)
            written = self._object(place, tool, place in held, arguments, write)
            num_letters += sum(map(len, written))
            rules += written
            proof += [arguments] if self._dialect.tagged else []  # more than the tags are held to
        rules.append(f"object: {' | '.join(f'object_{place}' for place in named)}")
        plain = all(is_plain(tool.parameters or {}) for tool in named.values())
        if fault := rules_fault([*rules, f"start: {' | '.join(['object', *proof])}"], plain):
            raise _too_large(fault)
        return rules

    def _object(self, place: int, tool: Tool, held: bool, arguments: str, write: Writer) -> list[str]:
        if self._dialect.tagged:
            return tagged_rules(f"object_{place}", tool, held, write)
        before = f'{{"name": {_json(tool.name)}, "{self._dialect.arguments}": '
        blanks = r"/\s{0,4}/ " if self._dialect.bare else ""
        return [
            f"BEFORE_{place}: {blanks}{_json(before)}",
            f'object_{place}: BEFORE_{place} {arguments} "}}"',
        ]

    def _free(self, use: ToolUse | None) -> list[str]:
        """Text, in which a call is bound once it has begun; a text without a call where there are none."""
        dialect = self._dialect
        begin = dialect.begin
        called = r'\s*\{"name":' if dialect.bare else f"(?s:.*){_pattern(begin)}"
        plain = f"PLAIN: TEXT & ~/{called}(?s:.*)/"
        if use is None:
            return ["free: PLAIN", plain]
        if dialect.bare:
            return [f"free: object | {self._marker(begin)} object | PLAIN", plain]
        more = "in_text* TEXT" if use.parallel else "in_text | TEXT"
        body = f'"\\n" object "\\n" {self._marker(dialect.end)}'
        return [f"free: {more}", f"in_text: opened {body}", *self._until("opened", begin)]

    def _json(self, reply: JsonReply) -> str:
        try:
            return json_rule(ANY_OBJECT if reply.schema is None else reply.schema)
        except UnusableSchema as error:
            named = f" '{reply.name}'" if reply.name else ""
            raise InvalidRequest(
                f"Invalid schema for response_format{named}: {error}",
                param=reply.param,
                code="invalid_json_schema",
            ) from error

    def _arguments(self, place: int, tool: Tool, held: bool, write: Writer) -> str:
        schema: dict[str, Any] = ANY_OBJECT | dict(tool.parameters or {"properties": {}})
        if "properties" in schema and not MORE & schema.keys():
            schema |= {"additionalProperties": False}  # no function has arguments that nobody told of
        try:
            if schema["type"] != "object":
                found = _json(schema["type"])
                raise UnusableSchema(
                    f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {found}'."
                )
            return write(schema, not held)
        except UnusableSchema as error:
            if not held:
                return write(ANY_OBJECT, False)
            raise InvalidRequest(
                f"Invalid schema for function '{tool.name}': {error}",
                param=f"tools[{place}].function.parameters",
                code="invalid_function_parameters",
            ) from error

    def _thinking(self, reasoning: Reasoning) -> str:
        return {"begun": "think GAP?", "possible": "(think GAP?)?", "none": ""}[reasoning]

    def _think(self, reasoning: Reasoning) -> list[str]:
        if reasoning == "none":
            return []
        opening = self._marker(THINK) if reasoning == "possible" else ""
        return [f"think: {opening} thought", *self._until("thought", END_OF_THINK), r"GAP: /\s{1,4}/"]

    def _marker(self, marker: str) -> str:
        """A marker where nothing else can stand: by its tokens where it has some of its own."""
        special = self._tokenizer.special_in(marker)
        token_id = self._tokenizer.token_id(marker)
        if token_id is not None:
            return f"<[{token_id}]>"
        parts = self._tokenizer.encode(marker)
        if special and set(parts) <= set(special):
            return " ".join(f"<[{part}]>" for part in parts)
        return _json(marker)

    def _until(self, rule: str, marker: str) -> list[str]:
        """Any text up to a marker, which ends it whether it is spelled or is a token."""
        spelled = f"{rule}_spelled[lazy]: /(?s:.*){_pattern(marker)}/"
        written = self._marker(marker)
        if written == _json(marker):
            return [f"{rule}: {rule}_spelled", spelled]
        return [f"{rule}: {rule}_spelled | TEXT {written}", spelled]


def _too_large(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid 'tools': the schemas of those that may be called are too large together. {reason}",
        param="tools",
        code="invalid_function_parameters",
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _pattern(text: str) -> str:
    """As a regular expression between slashes."""
    return "".join(
        f"\\{letter}" if not letter.isalnum() and letter not in "<>_" else letter for letter in text
    )
