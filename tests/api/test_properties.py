"""Whatever messages and parameters come: an answer, or a refusal with OpenAI's four keys."""

import asyncio
import json
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.service import PATH, RED_PIXEL, ScriptedEngine, events, service

NUMBERS = (
    st.none() | st.integers() | st.floats(allow_nan=False) | st.sampled_from([0, 1, -1, 0.5, 2, 16, 10**400])
)
TEXT = st.text(max_size=8) | st.sampled_from(
    ["", " ", "<|im_end|>", "\ud800", "\0", "🌍", "<think>", RED_PIXEL]
)
ODD: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | NUMBERS | TEXT | st.lists(TEXT, max_size=2) | st.just({})
)


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual] * 15 + [ODD]).flatmap(lambda chosen: chosen)


def one_of_these(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of the fields, each mostly as it should be."""
    return st.fixed_dictionaries({}, optional={name: mostly(each) for name, each in fields.items()})


URLS = st.sampled_from([RED_PIXEL] * 4 + ["data:,", "x", "ftp://x", "http://[::1]/"])
PARTS = mostly(
    TEXT.map(lambda words: {"type": "text", "text": words})
    | URLS.map(lambda url: {"type": "image_url", "image_url": {"url": url}})
    | URLS.map(lambda url: {"type": "video", "video": [url, url], "fps": 1})
)
FUNCTIONS = one_of_these(
    name=st.just("look"), arguments=TEXT, parameters=st.just({"type": "object"}), strict=st.booleans()
)
CALLS = mostly(
    TEXT.map(lambda words: {"id": words, "type": "function", "function": {"name": words, "arguments": words}})
)


def message(role: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    more = one_of_these(name=TEXT, reasoning_content=TEXT, tool_call_id=TEXT, refusal=ODD)
    said = st.fixed_dictionaries(
        {"role": st.just(role)} | {name: mostly(each) for name, each in fields.items()}
    )
    return st.builds(lambda one, other: one | other, more, said)


PICTURES: st.SearchStrategy[Any] = st.just([]) | st.lists(URLS, max_size=2)
MESSAGES = mostly(
    message("user", content=TEXT | st.lists(PARTS, max_size=3), images=PICTURES)
    | message("system", content=TEXT)
    | message("developer", content=TEXT)
    | message("assistant", content=TEXT, tool_calls=st.lists(CALLS, max_size=2))
    | message("tool", content=TEXT, tool_call_id=TEXT)
)

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
TOOLS = st.just(LOOK) | one_of_these(type=st.just("function"), function=FUNCTIONS)
CHOICES = st.sampled_from(["none", "auto", "required", {"type": "function", "function": {"name": "look"}}])
FORMATS = st.sampled_from(
    [
        {"type": "text"},
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string"}}},
    ]
)
PARAMETERS = one_of_these(
    temperature=st.floats(0, 2),
    top_p=st.floats(0, 1),
    top_k=st.integers(-1, 10**9),
    min_p=st.floats(0, 1),
    frequency_penalty=st.floats(-2, 2),
    presence_penalty=st.floats(-2, 2),
    repetition_penalty=st.floats(0.01, 2),
    logit_bias=st.dictionaries(st.integers(0, 300).map(str), st.floats(-100, 100), max_size=2),
    seed=st.integers(-(2**63), 2**63 - 1),
    n=st.integers(1, 4),
    max_tokens=st.integers(1, 10**9),
    max_completion_tokens=st.integers(1, 5),
    stop=st.text(min_size=1) | st.lists(st.text(min_size=1), max_size=4),
    logprobs=st.just(True),
    top_logprobs=st.integers(0, 20),
    stream=st.booleans(),
    stream_options=one_of_these(include_usage=st.booleans()),
    reasoning_effort=st.sampled_from(["none", "low"]),
    chat_template_kwargs=st.dictionaries(TEXT, st.booleans() | st.integers() | TEXT, max_size=2),
    user=ODD,
    modalities=st.just(["text"]),
)
TOOL_FIELDS = one_of_these(
    tools=st.lists(TOOLS, min_size=1, max_size=2),
    tool_choice=CHOICES,
    parallel_tool_calls=st.booleans(),
    response_format=FORMATS,
)


def asked(request: dict[str, Any]) -> httpx.Response:
    async def send() -> httpx.Response:
        app = service(ScriptedEngine("A red pixel."))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(PATH, content=json.dumps({"model": "demo"} | request).encode())

    return asyncio.run(asyncio.wait_for(send(), 20))


def answered_or_refused(request: dict[str, Any]) -> None:
    response = asked(request)
    assert response.headers["x-request-id"]
    if response.status_code != 200:
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert list(error) == ["message", "type", "param", "code"]
        assert error["message"]
        assert error["type"] == "invalid_request_error"
        assert all(error[key] is None or isinstance(error[key], str) for key in ("param", "code"))
    elif response.headers["content-type"] == "application/json":
        assert len(response.json()["choices"]) == (request.get("n") or 1)
    else:
        assert events(response)[-1] == "[DONE]"


BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@BOUNDED
@given(messages=st.lists(MESSAGES, min_size=1, max_size=4), stream=st.booleans())
def test_any_list_of_messages_is_answered_or_refused(messages: list[Any], stream: bool) -> None:
    answered_or_refused({"messages": messages, "stream": stream, "max_tokens": 4})


@BOUNDED
@given(parameters=PARAMETERS)
def test_any_parameters_are_followed_or_refused(parameters: dict[str, Any]) -> None:
    answered_or_refused({"messages": [{"role": "user", "content": "Hi"}]} | parameters)


@BOUNDED
@given(fields=TOOL_FIELDS)
def test_any_tools_are_used_or_refused(fields: dict[str, Any]) -> None:
    answered_or_refused({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8} | fields)
