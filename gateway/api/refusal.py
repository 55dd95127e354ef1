"""Says what is wrong with a request in OpenAI's words: message, code, and the field's path as `param`."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.errors import InvalidRequest, cut

WORDS = {
    "missing": ("missing_required_parameter", "Missing required parameter: '{param}'."),
    "union_tag_not_found": ("missing_required_parameter", "Missing required parameter: '{param}'."),
    "type": ("invalid_type", "Invalid type for '{param}': expected {expected}, but got {got} instead."),
    "literal_error": ("invalid_value", "Invalid value: {value}. Supported values are: {expected}."),
    "union_tag_invalid": ("invalid_value", "Invalid value: '{tag}'. Supported values are: {expected}."),
    "unsupported_value": (
        "unsupported_value",
        "Unsupported value: '{param}' does not support {value}. {msg}",
    ),
    "unusable": ("invalid_value", "Invalid '{param}'. {sentence}"),
    "needs_another": (None, "The '{param}' parameter is only allowed when '{other}' is enabled."),
    "needs_tools": (
        None,
        "Invalid value for '{param}': '{param}' is only allowed when 'tools' are specified.",
    ),
    "unknown_tool": (None, "Tool choice '{name}' not found in 'tools' parameter."),
    "no_token_id": (
        "invalid_value",
        "Invalid key in '{param}': {value}. You should only be submitting non-negative integers.",
    ),
    "string_too_long": (
        "string_above_max_length",
        "Invalid '{param}': string too long. Expected a string with maximum length {max_length}, "
        "but got a string with length {actual_length} instead.",
    ),
    "string_too_short": ("empty_string", "Invalid '{param}': empty string."),
    "string_pattern_mismatch": (
        "invalid_value",
        "Invalid '{param}': string does not match pattern. "
        "Expected a string that matches the pattern '{pattern}'.",
    ),
    "too_short": (
        "empty_array",
        "Invalid '{param}': empty array. Expected an array with minimum length {min_length}, "
        "but got an empty array instead.",
    ),
    "too_long": (
        "array_above_max_length",
        "Invalid '{param}': {kind} too long. Expected an {kind} with maximum length {max_length}, "
        "but got an {kind} with length {actual_length} instead.",
    ),
    "greater_than_equal": (
        "{number}_below_min_value",
        "Invalid '{param}': {number} below minimum value. "
        "Expected a value >= {bound}, but got {value} instead.",
    ),
    "greater_than": (
        "{number}_below_min_value",
        "Invalid '{param}': {number} below minimum value. "
        "Expected a value > {bound}, but got {value} instead.",
    ),
    "less_than_equal": (
        "{number}_above_max_value",
        "Invalid '{param}': {number} above maximum value. "
        "Expected a value <= {bound}, but got {value} instead.",
    ),
}
"""By pydantic's name of the fault: OpenAI's code and sentence (reports quoted in public issues)."""

NAMED_WHOLE = {"logit_bias", "stop"}
"""The keys of the one are the client's own; of the other, OpenAI does not name the place."""

PARTS = {"content", "input", "output"}
"""Lists of objects of several kinds."""

EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}

EITHER = {
    "content": "one of a string or array of objects",
    "input": "one of a string or array of objects",
    "output": "one of a string or array of objects",
    "stop": "one of a string or array of strings",
    "tool_choice": "one of a string or object",
    "video": "one of a string or array of strings",
}
"""Fields that may be a string as well."""

GOT = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def refusal(error: ValidationError) -> InvalidRequest:
    """The first fault, as OpenAI would report it."""
    fault = error.errors(include_url=False)[0]
    kind = fault["type"]
    if fault["input"] is None and len(fault["loc"]) == 1:  # null for what every request must have
        kind = "missing"
    param = _path(fault)
    if kind == "missing" and param == "model":
        return InvalidRequest("you must provide a model parameter")
    code, sentence = WORDS["type" if kind in EXPECTED else kind]
    words = _words(fault, param)
    return InvalidRequest(sentence.format_map(words), param=param, code=code and code.format_map(words))


def _path(fault: ErrorDetails) -> str:
    """("messages", 0, "content", 1, "text", "text") -> messages[0].content[1].text: what follows a place in
    such a list is the kind that was chosen, not a key."""
    steps = fault["loc"][:1] if fault["loc"][0] in NAMED_WHOLE else fault["loc"]
    path = ""
    for place, step in enumerate(steps):
        if isinstance(step, int):
            path += f"[{step}]"
        elif place < 2 or steps[place - 2] not in PARTS:
            path += f".{step.rstrip('_')}" if path else step
    return f"{path}.type" if fault["type"].startswith("union_tag") else path


def _words(fault: ErrorDetails, param: str) -> Mapping[str, Any]:
    context = fault.get("ctx", {})
    value = fault["input"]
    listed = context.get("expected_tags") or context.get("expected", "")
    bound = context.get("ge", context.get("gt", context.get("le")))
    return context | {
        "param": param,
        "msg": fault["msg"],
        "value": _shown(value),
        "actual_length": len(value) if isinstance(value, list | dict | str) else None,
        "kind": "object" if isinstance(value, dict) else "array",
        "tag": cut(str(context.get("tag"))),
        "got": GOT[type(value)],
        "expected": _expected(fault) or _listed(listed.replace(" or ", ", ").split(", ")),
        "number": "decimal" if isinstance(bound, float) else "integer",
        "bound": f"{bound:g}" if isinstance(bound, float) else bound,
    }


def _expected(fault: ErrorDetails) -> str | None:
    either = EITHER.get(str(fault["loc"][-1])) if fault["type"] in ("list_type", "model_type") else None
    return either or EXPECTED.get(fault["type"])


def _listed(values: Sequence[str]) -> str:
    *others, last = values
    return f"{', '.join(others)}{',' * (len(others) > 1)} and {last}" if others else last


def _shown(value: object) -> str:
    """As JSON, but strings in single quotes; of what is long only the beginning is written out."""
    if isinstance(value, str):
        return cut(repr(value[:100]))
    return cut("".join(islice(json.JSONEncoder().iterencode(value), 64)))
