"""Says what is wrong with a request in OpenAI's words: message, code, and the field's path as `param`."""

import json
from collections.abc import Mapping
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
    "needs_another": (None, "The '{param}' parameter is only allowed when '{other}' is enabled."),
    "no_token_id": (
        "invalid_value",
        "Invalid key in '{param}': {value}. You should only be submitting non-negative integers.",
    ),
    "string_too_long": (
        "string_above_max_length",
        "Invalid '{param}': string too long. Expected a string with maximum length {max_length}.",
    ),
    "string_too_short": ("empty_string", "Invalid '{param}': empty string."),
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
    `content` is the kind of part that was chosen, not a key."""
    steps = fault["loc"][:1] if fault["loc"][0] in NAMED_WHOLE else fault["loc"]
    path = ""
    for place, step in enumerate(steps):
        if isinstance(step, int):
            path += f"[{step}]"
        elif place < 2 or steps[place - 2] != "content":
            path += f".{step}" if path else step
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
        "actual_length": len(value) if isinstance(value, list | dict) else None,
        "kind": "object" if isinstance(value, dict) else "array",
        "tag": cut(str(context.get("tag"))),
        "got": GOT[type(value)],
        "expected": EXPECTED.get(fault["type"]) or " and ".join(listed.replace(" or ", ", ").rsplit(", ", 1)),
        "number": "decimal" if isinstance(bound, float) else "integer",
        "bound": f"{bound:g}" if isinstance(bound, float) else bound,
    }


def _shown(value: object) -> str:
    """As JSON, but strings in single quotes; of what is long only the beginning is written out."""
    if isinstance(value, str):
        return cut(repr(value[:100]))
    return cut("".join(islice(json.JSONEncoder().iterencode(value), 64)))
