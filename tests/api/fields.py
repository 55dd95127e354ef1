"""The fields of a request as its model has them: path by path, what each may hold."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]


def fields(model: type[BaseModel]) -> list[tuple[str, str]]:
    """(messages[].role, what it may hold), in the order of the model; those of the items of a list once, also
    where several kinds of them have it."""
    schema = model.model_json_schema(by_alias=True)
    found: dict[str, dict[str, None]] = {}
    for path, accepted in _walk(schema, schema.get("$defs", {}), ""):
        found.setdefault(path, {})[accepted] = None
    return [(path, " ".join(accepted)) for path, accepted in found.items()]


def _walk(schema: Schema, defs: Schema, path: str) -> Iterator[tuple[str, str]]:
    for name, each in schema.get("properties", {}).items():
        own = f"{path}.{name}" if path else name
        each = _resolved(each, defs)
        yield own, _accepted(each, defs)
        yield from _within(each, defs, own)


def _within(schema: Schema, defs: Schema, path: str) -> Iterator[tuple[str, str]]:
    if "items" in schema:
        yield from _within(_resolved(schema["items"], defs), defs, f"{path}[]")
    for each in schema.get("oneOf", []):
        yield from _walk(_resolved(each, defs), defs, path)
    yield from _walk(schema, defs, path)


def _resolved(schema: Schema, defs: Schema) -> Schema:
    """Without references, and without the null that stands for absence."""
    if "$ref" in schema:
        return _resolved(defs[schema["$ref"].rpartition("/")[2]] | {"default": schema.get("default")}, defs)
    if "anyOf" in schema:
        (one,) = (each for each in schema["anyOf"] if each != {"type": "null"})
        return _resolved(one, defs)
    return schema


def _accepted(schema: Schema, defs: Schema) -> str:
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return " ".join(f"`{json.dumps(value, ensure_ascii=False)}`" for value in values)
    match schema.get("type"):
        case "string":
            length = _range(schema.get("minLength"), schema.get("maxLength"), " characters")
            pattern = f", `{schema['pattern']}`" if "pattern" in schema else ""
            return f"string{length}{pattern}"
        case "integer" | "number" as kind:
            low, high = schema.get("minimum"), schema.get("maximum")
            if "exclusiveMinimum" in schema:
                return f"{kind} (above {schema['exclusiveMinimum']:g}, up to {high})"
            return f"{kind}{_range(low, high, '')}"
        case "array":
            items = _accepted(_resolved(schema["items"], defs), defs)
            return f"list{_range(schema.get('minItems'), schema.get('maxItems'), '')} of {items}"
        case "object":
            values = schema.get("additionalProperties")
            of = f" of {_accepted(values, defs)}" if isinstance(values, dict) else ""
            return f"object{_range(schema.get('minProperties'), schema.get('maxProperties'), ' keys')}{of}"
        case "boolean":
            return "boolean"
    return "object" if "oneOf" in schema else "anything"


def _range(low: float | None, high: float | None, unit: str) -> str:
    if low is None and high is None:
        return ""
    if low is None:
        return f" (up to {high}{unit})"
    if high is None:
        return f" ({low} or more{unit})"
    return f" ({low} to {high}{unit})"
