"""One tool call of a reply, as Qwen3-Coder and Qwen 3.5 write it: a tag for the function and one for each of
its parameters, whose values are texts or JSON as the tool's schema says."""

import json
from collections.abc import Mapping, Sequence, Set

from gateway.chat.calls import LetterReader
from gateway.chat.conversation import Tool

FUNCTION, END_OF_FUNCTION = "<function=", "</function>"
PARAMETER, END_OF_PARAMETER = "<parameter=", "</parameter>"

Kinds = Mapping[str, Mapping[str, Set[str]]]
"""The JSON types of each parameter of each tool, as far as its schema says."""

_BLANKS = " \t\r\n"
_KINDS = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
# Chat templates write these as Python does.
_WORDS = {"True": "true", "False": "false", "None": "null"}


class TaggedCallReader(LetterReader):
    """What CallReader is to the other form."""

    def __init__(self, kinds: Kinds) -> None:
        super().__init__(self._tag)
        self._kinds = kinds
        self._num_read = 0
        self._new = ""

    def take(self) -> str:
        """What is new of the arguments, as JSON. Only once it has begun."""
        new, self._new = self._new, ""
        return new

    def _tag(self, letter: str) -> bool:
        if not self._raw and letter in _BLANKS:
            return True
        self._raw.append(letter)
        written, opening = "".join(self._raw), PARAMETER if self.begun else FUNCTION
        if self.begun and written == END_OF_FUNCTION:
            self._new += "}" if self._num_read else "{}"
            self.complete = self.done = True
        elif letter == ">" and written.startswith(opening):
            self._name(written.removeprefix(opening)[:-1].strip())
        elif not written.startswith(opening):
            return opening.startswith(written) or (self.begun and END_OF_FUNCTION.startswith(written))
        return letter not in "\r\n"

    def _name(self, name: str) -> None:
        self._raw = []
        if self.begun:
            self._key, self._read = name, self._value
        else:
            self.name, self.begun = name, True

    def _value(self, letter: str) -> bool:
        self._raw.append(letter)
        size = len(END_OF_PARAMETER)
        if letter == ">" and "".join(self._raw[-size:]) == END_OF_PARAMETER:
            value = "".join(self._raw[:-size]).removeprefix("\n").removesuffix("\n")
            self._new += ", " if self._num_read else "{"
            self._new += f"{json.dumps(self._key, ensure_ascii=False)}: {self._written(value)}"
            self._num_read += 1
            self._raw, self._read = [], self._tag
        return True

    def _written(self, value: str) -> str:
        """As JSON."""
        kinds = self._kinds.get(self.name, {}).get(self._key, frozenset())
        word = _WORDS.get(value.strip(), value.strip())
        if "string" not in kinds or (word == "null" and "null" in kinds):
            try:
                json.loads(word, parse_constant=_no_number)
            except (ValueError, RecursionError):
                pass
            else:
                return word
        return json.dumps(value, ensure_ascii=False)


def _no_number(word: str) -> None:
    """NaN and the infinities, which Python takes for JSON."""
    raise ValueError(word)


def kinds_of(tools: Sequence[Tool]) -> Kinds:
    return {
        tool.name: {key: kinds(schema) for key, schema in properties.items()}
        for tool in tools
        if isinstance(properties := (tool.parameters or {}).get("properties"), Mapping)
    }


def kinds(schema: object) -> frozenset[str]:
    """The JSON types that a schema says its values have; nothing where it does not say."""
    if not isinstance(schema, Mapping):
        return frozenset()
    named = schema.get("type")
    found = {each for each in [named, *listed(named)] if isinstance(each, str)}
    values = [*listed(schema.get("enum")), *([schema["const"]] if "const" in schema else ())]
    found |= {_KINDS.get(type(value), "object") for value in values}
    for key in ("anyOf", "oneOf", "allOf"):
        found = found.union(*map(kinds, listed(schema.get(key))))
    return frozenset(found)


def listed(value: object) -> Sequence[object]:
    """A list of a schema's; nothing where it is none."""
    return value if isinstance(value, list | tuple) else ()
