"""The grammar of calls with a tag for each parameter (tagged_calls)."""

import json
from collections.abc import Mapping
from typing import Any

from gateway.chat.conversation import Tool
from gateway.chat.schema import UnusableSchema, Writer
from gateway.chat.tagged_calls import END_OF_FUNCTION, END_OF_PARAMETER, FUNCTION, PARAMETER, kinds, listed

VALUE = 'value: text_value "\\n"\ntext_value[lazy]: /(?s:.*)<\\/parameter>/'
"""The rules for a text, with its end: the first that it has, wherever in a line that stands."""

# With one of these, the properties of a schema are not all that there are.
MORE = {"additionalProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf"}


def tagged_rules(rule: str, tool: Tool, held: bool, write: Writer) -> list[str]:
    """A call with a tag for each parameter. Texts are free, whatever their schema says beside its enum."""
    schema = tool.parameters or {"properties": {}}
    properties, opened = schema.get("properties"), _json(f"{FUNCTION}{tool.name}>\n")
    if not isinstance(properties, Mapping) or MORE & schema.keys() - {"additionalProperties"}:
        anything = f'({_json(PARAMETER)} /[^\\s<>]+/ ">\\n" value)*'
        return [f"{rule}: {opened} {anything} {_json(END_OF_FUNCTION)}"]
    written = []
    for key, each in properties.items():
        parameter = f"{_json(f'{PARAMETER}{key}>' + chr(10))} {_value(each, schema, held, write)}"
        written.append(parameter if key in listed(schema.get("required")) else f"({parameter})?")
    return [f"{rule}: {opened} {' '.join(written)} {_json(END_OF_FUNCTION)}"]


def _value(schema: object, root: Mapping[str, Any], held: bool, write: Writer) -> str:
    """Of one parameter, with its end."""
    end = _json(f"\n{END_OF_PARAMETER}\n")
    if not isinstance(schema, Mapping) or not kinds(schema):
        return "value"
    if "string" not in kinds(schema):
        named = {key: root[key] for key in ("$defs", "definitions") if key in root}
        try:
            return f"{write({**schema, **named}, not held)} {end}"
        except UnusableSchema:
            return "value"
    values = listed(schema.get("enum"))
    if values and all(isinstance(value, str) for value in values):
        return f"({' | '.join(map(_json, values))}) {end}"
    return "value"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
