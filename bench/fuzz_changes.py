"""What is done to a request: to the JSON, place by place, and to its bytes."""

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from bench.fuzz_pictures import broken, picture_url

Json = Any
Key = Any  # of an object, or a place in an array

STRINGS = (
    *(
        "",
        " ",
        "\0",
        "a" * 70_000,
        "é\u0301",
        "\ud800",
        "\uffff",
        "\ufdd0",
        "👩‍👩‍👧",
        "مرحبا",
        "\u202e",
        "%s%n{0}",
    ),
    *(
        "{{ 7 * 7 }}",
        "{% raw %}",
        "<|im_end|>",
        "<|im_start|>assistant",
        "<think>",
        "</think>",
        "<tool_call>",
    ),
    *(
        "true",
        "null",
        "NaN",
        "1e400",
        "-1",
        "user",
        "assistant",
        "tool",
        "system",
        "developer",
        "text",
        "auto",
    ),
    *(
        "json_object",
        "required",
        "none",
        "image_url",
        "input_text",
        "(a*)*b",
        "^[\\p{L}]{1,9999}$",
        "[",
        "#/$defs/x",
    ),
    *(
        "data:",
        "data:,",
        "data:image/png;base64,",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "../../etc/passwd",
    ),
    *(
        "http://127.0.0.1:1/a.png",
        "http://[::1]:1/a",
        "http://2130706433:1/",
        "http://0x7f.1:1/a",
        "http://:@/",
    ),
)
NUMBERS = (
    *(
        0,
        1,
        -1,
        2,
        16,
        0.5,
        -0.0,
        1e-320,
        1e308,
        float("nan"),
        float("inf"),
        2**31,
        2**53 + 1,
        2**63,
        2**64,
        -(2**63),
    ),
    *(10**400, 1e400, 0.1 + 0.2),
)
KEYS = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "n", "stream", "stream_options", "logprobs"),
    *("top_logprobs", "logit_bias", "presence_penalty", "frequency_penalty", "repetition_penalty", "tools"),
    *(
        "tool_choice",
        "response_format",
        "prompt_cache_key",
        "reasoning_effort",
        "chat_template_kwargs",
        "messages",
    ),
    *(
        "content",
        "role",
        "name",
        "tool_calls",
        "images",
        "type",
        "suffix",
        "echo",
        "best_of",
        "text",
        "reasoning",
    ),
    *(
        "instructions",
        "input",
        "previous_response_id",
        "store",
        "include",
        "truncation",
        "__class__",
        "$ref",
        "pattern",
    ),
    *(
        "properties",
        "items",
        "anyOf",
        "minItems",
        "maxLength",
        "enum",
        "const",
        "multipleOf",
        "additionalProperties",
        "format",
    ),
)


def changed(chance: random.Random, body: Json) -> Json:
    """The body with one place changed: any value in it, or the whole."""
    places = list(_places(body))
    owner, key = chance.choice(places) if places else (None, None)
    if owner is None or chance.random() < 0.01:
        return anything(chance)
    act = chance.choice((_replace, _replace, _replace, _remove, _wrap, _repeat, _rename, _add, _edit, _edit))
    act(chance, owner, key)
    return body


def anything(chance: random.Random, depth: int = 0) -> Json:
    """Any JSON."""
    match chance.randrange(9 if depth < 4 else 6):
        case 0:
            return chance.choice((None, True, False))
        case 1 | 2:
            return chance.choice(NUMBERS)
        case 3 | 4:
            return chance.choice(STRINGS)
        case 5:
            return picture_url(chance)
        case 6:
            return [anything(chance, depth + 1) for _ in range(chance.randrange(4))]
        case 7:
            return {chance.choice(KEYS): anything(chance, depth + 1) for _ in range(chance.randrange(4))}
        case _:
            return _nested(chance)


def _nested(chance: random.Random) -> Json:
    inner: Json = chance.choice(STRINGS)
    for _ in range(chance.choice((3, 40, 400))):
        inner = [inner] if chance.random() < 0.5 else {chance.choice(KEYS): inner}
    return inner


def _places(value: Json) -> Iterator[tuple[Json, Key]]:
    """(owner, key) of every value inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield value, key
        yield from _places(inner)


def _replace(chance: random.Random, owner: Json, key: Key) -> None:
    owner[key] = anything(chance)


def _remove(chance: random.Random, owner: Json, key: Key) -> None:
    del owner[key]


def _wrap(chance: random.Random, owner: Json, key: Key) -> None:
    owner[key] = chance.choice((lambda value: [value], lambda value: {chance.choice(KEYS): value}, str))(
        owner[key]
    )


def _repeat(chance: random.Random, owner: Json, key: Key) -> None:
    if isinstance(owner[key], str):
        owner[key] = owner[key][:2000] * chance.choice((2, 30))
    elif isinstance(owner, list):
        owner[key:key] = [deepcopy(owner[key]) for _ in range(chance.choice((1, 3, 40)))]
    else:
        owner[key] = [deepcopy(owner[key]) for _ in range(chance.choice((1, 3, 40)))]


def _rename(chance: random.Random, owner: Json, key: Key) -> None:
    if isinstance(owner, dict):
        owner[chance.choice(KEYS)] = owner.pop(key)
    else:
        owner.reverse()


def _add(chance: random.Random, owner: Json, key: Key) -> None:
    if isinstance(owner, dict):
        owner[chance.choice((*KEYS, *STRINGS))] = anything(chance)
    else:
        owner.append(anything(chance))


def _edit(chance: random.Random, owner: Json, key: Key) -> None:
    """A little of it is changed: a letter, a digit, a bit of a picture."""
    value = owner[key]
    if isinstance(value, str) and value.startswith("data:"):
        owner[key] = picture_url(chance)
    elif isinstance(value, str) and "://" not in value:
        place = chance.randrange(len(value) + 1)
        owner[key] = value[:place] + chance.choice(STRINGS)[:9] + value[place + chance.randrange(2) :]
    elif isinstance(value, bool):
        owner[key] = not value
    elif isinstance(value, int | float):
        owner[key] = chance.choice(
            (value + 1, value - 1, -value, value * 1000, value / 7 if abs(value) < 2**53 else 0.5)
        )
    else:
        _replace(chance, owner, key)


def written(chance: random.Random, body: Json) -> bytes:
    """As JSON; now and then with a key twice."""
    data = json.dumps(body, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    if chance.random() < 0.05 and data.startswith(b"{"):
        again = json.dumps(
            {chance.choice((*KEYS, "model", "max_tokens")): chance.choice((None, 1, "x", [], {}))}
        )
        data = data[:-1] + b"," + again.encode()[1:]
    return data


def torn(chance: random.Random, data: bytes) -> bytes:
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data[: chance.randrange(len(data) + 1)],
        lambda: broken(chance, data),
        lambda: chance.randbytes(chance.randrange(200)),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.decode("utf-8", "replace").encode("utf-16"),
        lambda: data + data,
        lambda: data.replace(b'"', b"'"),
        lambda: data[:-1] + b',"x":' + b"[" * 3000 + b"]" * 3000 + b"}",
        lambda: data.replace(b":", b":" + b" " * 2000),
    )
    return chance.choice(ways)()
