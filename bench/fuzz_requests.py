"""Requests that are nearly right: of each endpoint some that are right, before and after a change or two."""

import random
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

from bench.fuzz_changes import changed, torn, written
from bench.fuzz_pictures import files
from gateway.demo import MODEL_NAME
from tests.acceptance.pictures import data_url
from tests.acceptance.plain import ANSWER, CALL, WEATHER

CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
TOKENIZE, DETOKENIZE = "/v1/tokenize", "/v1/detokenize"
LIMIT = {CHAT: "max_tokens", TEXT: "max_tokens", RESPONSES: "max_output_tokens"}
"""What keeps an answer short, for each endpoint that answers."""
LONGEST = 64
MANY_KEYWORDS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "number": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700},
        "word": {"type": "string", "pattern": "^[ab]{1,9}$"},
        "letters": {"type": "string", "minLength": 1, "maxLength": 9},
        "list": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
        "either": {"anyOf": [{"$ref": "#/$defs/x"}, {"const": None}]},
    },
    "required": ["number"],
    "$defs": {"x": {"type": "string", "format": "date"}},
}


@dataclass(frozen=True)
class Asked:
    """What is sent; `leaves` is after how many bytes of the answer the client goes away, if it does."""

    path: str
    body: bytes
    leaves: int | None = None


def asked(chance: random.Random) -> Asked:
    """One request, the same for the same state of `chance`."""
    path, body = deepcopy(chance.choice(right()))
    for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 3, 8))):
        body = changed(chance, body)
    if isinstance(body, dict) and path in LIMIT:
        given = body.get(LIMIT[path])
        if given is None or (type(given) is int and given > LONGEST):
            body[LIMIT[path]] = 8
    data = written(chance, body)
    if chance.random() < 0.12 and b"://" not in data:  # nobody outside this machine is to be asked
        data = torn(chance, data)
    leaves = chance.randrange(2000) if chance.random() < 0.05 else None
    return Asked(path, data, leaves)


@cache
def right() -> tuple[tuple[str, dict[str, Any]], ...]:
    """Requests without a fault."""
    say = {"role": "user", "content": "Say hi."}
    png = data_url(files()["image/png"])
    look = {
        "role": "user",
        "content": [text("What is it?"), {"type": "image_url", "image_url": {"url": png}}],
    }
    video = {"type": "video_url", "video_url": {"url": data_url(files()["video/mp4"], "video/mp4")}}
    frames = {"type": "video", "video": [png, png], "fps": 2}
    call = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "31 C"}
    short = {"model": MODEL_NAME, "max_tokens": 6}
    drawn = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "seed": 7, "stop": ["x"], "logit_bias": {"5": 1}}
    chats: list[dict[str, Any]] = [
        {"messages": [say]},
        {"messages": [{"role": "system", "content": "Be terse."}, say], **drawn, "n": 2},
        {"messages": [look], "stream": True, "stream_options": {"include_usage": True}},
        {
            "messages": [look, {"role": "assistant", "content": "A disc."}, look, call, result],
            "tools": [WEATHER],
        },
        {"messages": [{"role": "user", "content": [text("And this?"), video]}]},
        {"messages": [{"role": "user", "content": [frames, text("What moves?")]}], "logprobs": True},
        {"messages": [say], "tools": [WEATHER], "tool_choice": "required", "stream": True},
        {"messages": [say], "response_format": schema(ANSWER), "max_tokens": 24},
        {"messages": [say], "response_format": schema(MANY_KEYWORDS), "max_tokens": 24},
        {"messages": [say], "logprobs": True, "top_logprobs": 3, "stream": True},
        {"messages": [{"role": "user", "content": "Look.", "images": [png]}]},
    ]
    function = {"type": "function", **WEATHER["function"]}
    item = {"type": "input_image", "image_url": png}
    responses: list[dict[str, Any]] = [
        {"input": "Say hi."},
        {
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "Look."}, item]}],
            "stream": True,
        },
        {"input": "Weather?", "tools": [function], "tool_choice": "required", "instructions": "Be terse."},
    ]
    return (
        *((CHAT, short | chat) for chat in chats),
        (TEXT, short | {"prompt": "Once", "stop": "x", "echo": True}),
        (TEXT, short | {"prompt": ["One", "Two"], "n": 2, "stream": True, "logprobs": 2}),
        *((RESPONSES, {"model": MODEL_NAME, "max_output_tokens": 6} | asks) for asks in responses),
        (TOKENIZE, {"model": MODEL_NAME, "messages": [say]}),
        (TOKENIZE, {"model": MODEL_NAME, "text": "Say hi."}),
        (DETOKENIZE, {"model": MODEL_NAME, "tokens": [5, 6, 7]}),
    )


def schema(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": of}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}
