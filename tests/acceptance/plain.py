"""A: plain requests."""

import json
from typing import Any

from tests.acceptance.case import Case, answered, chat, image, says, shown, text
from tests.acceptance.client import Client, Reply
from tests.acceptance.pictures import JPEG, PNG, data_url, lying_jpeg, picture

STORY = [says("Write a long story.")]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'},
}
ANSWER: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
FORMATS = (
    {"type": "json_object"},
    {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": ANSWER}},
)
CHOICES = ("auto", "required", {"type": "function", "function": {"name": "get_weather"}})
OPTIONAL = (
    *("temperature", "top_p", "stop", "stream", "n", "seed", "user"),
    *("tools", "tool_choice", "response_format", "stream_options"),
)


def after_a_call(content: str | None) -> dict[str, Any]:
    """The weather was asked for and is known; the call itself was said with that content."""
    call = says(content, "assistant") | {"tool_calls": [CALL]}
    result = says("31 C", "tool") | {"tool_call_id": "call_1"}
    return chat([says("Weather in Rome?"), call, result], tools=[WEATHER])


def tool(number: int) -> dict[str, Any]:
    parameter = {"type": "string", "description": "y" * 150}
    parameters = {"type": "object", "properties": {"a": parameter}}
    function = {"name": f"tool_{number}", "description": "x" * 500, "parameters": parameters}
    return {"type": "function", "function": function}


def choice(reply: Reply) -> dict[str, Any]:
    first: dict[str, Any] = reply.completion["choices"][0]
    return first


def second_picture_counts(client: Client, body: Any, reply: Reply) -> None:
    one = client.ask(chat([says([image(PNG), text("and"), text("Compare.")])]))
    assert reply.completion["usage"]["prompt_tokens"] > one.completion["usage"]["prompt_tokens"] + 36


def one_token(client: Client, body: Any, reply: Reply) -> None:
    assert choice(reply)["finish_reason"] == "length"
    assert reply.completion["usage"]["completion_tokens"] == 1


def stopped_there(client: Client, body: Any, reply: Reply) -> None:
    """What this model says is asked first, because the words of the table need not be in it."""
    assert "two" not in choice(reply)["message"]["content"]
    free = {key: value for key, value in body.items() if key != "stop"} | {"temperature": 0}
    whole = choice(client.ask(free))["message"]["content"]
    stop = whole[len(whole) // 2 :][:2]
    as_asked = stop if isinstance(body["stop"], str) else [stop, "zzz"]
    cut = choice(client.ask(free | {"stop": as_asked}))
    assert (cut["message"]["content"], cut["finish_reason"]) == (whole[: whole.index(stop)], "stop")


def same_again(client: Client, body: Any, reply: Reply) -> None:
    assert choice(client.ask(body))["message"] == choice(reply)["message"]


def json_text(client: Client, body: Any, reply: Reply) -> None:
    """What was cut off is the beginning of some."""
    said = choice(reply)
    if said["finish_reason"] == "stop":
        assert isinstance(json.loads(said["message"]["content"]), dict)
    else:
        assert said["message"]["content"].lstrip().startswith("{")


def called(client: Client, body: Any, reply: Reply) -> None:
    said = choice(reply)
    calls = said["message"].get("tool_calls") or []
    assert calls or body["tool_choice"] == "auto"
    assert not calls or said["finish_reason"] in ("tool_calls", "stop")
    for call in calls:
        assert call["id"]
        assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
        assert isinstance(json.loads(call["function"]["arguments"]), dict)


def not_called(client: Client, body: Any, reply: Reply) -> None:
    assert not choice(reply)["message"].get("tool_calls")


def two_choices(client: Client, body: Any, reply: Reply) -> None:
    assert [choice["index"] for choice in reply.completion["choices"]] == [0, 1]


def logprobs(client: Client, body: Any, reply: Reply) -> None:
    entries = choice(reply)["logprobs"]["content"]
    assert entries
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)


CASES: tuple[Case, ...] = (
    answered("A01", "content is a string", lambda: [chat()]),
    answered("A02", "content is parts of text", lambda: [chat([says([text("Say"), text("hi.")])])]),
    answered("A03", "a PNG", lambda: [shown()]),
    answered("A04", "a JPEG", lambda: [shown(JPEG)]),
    answered("A05", "a WebP", lambda: [shown(data_url(picture(file_format="WEBP"), "image/webp"))]),
    answered(
        "A06", "a still GIF", lambda: [shown(data_url(picture(mode="P", file_format="GIF"), "image/gif"))]
    ),
    answered(
        "A07",
        "two pictures with text between them",
        lambda: [chat([says([image(PNG), text("and"), image(JPEG), text("Compare.")])])],
        second_picture_counts,
    ),
    answered("A08", "a picture without text", lambda: [chat([says([image(PNG)])])]),
    answered("A09", "every detail", lambda: [shown(detail=detail) for detail in ("low", "high", "auto")]),
    answered(
        "A10",
        "pictures in two turns, as Open WebUI sends all of them again",
        lambda: [
            chat(
                [
                    says([text("One"), image(PNG)]),
                    says("A disc.", "assistant"),
                    says([text("Two"), image(JPEG)]),
                ]
            )
        ],
    ),
    answered("A11", "a picture of one pixel", lambda: [shown(data_url(picture(1, 1)))]),
    answered("A12", "a strip of 4000 by 10", lambda: [shown(data_url(picture(4000, 10)))]),
    answered(
        "A13",
        "24 megapixels",
        lambda: [shown(data_url(picture(6000, 4000, file_format="JPEG"), "image/jpeg"))],
    ),
    answered(
        "A14",
        "PNGs with alpha, with a palette, of 16 bits",
        lambda: [shown(data_url(picture(mode=mode))) for mode in ("RGBA", "P", "I;16")],
    ),
    answered(
        "A15",
        "JPEGs in CMYK and lying on their side",
        lambda: [
            shown(data_url(data, "image/jpeg"))
            for data in (picture(mode="CMYK", file_format="JPEG"), lying_jpeg())
        ],
    ),
    answered(
        "A16",
        "JPEGs called image/jpg and image/png",
        lambda: [shown(data_url(picture(file_format="JPEG"), kind)) for kind in ("image/jpg", "image/png")],
    ),
    answered(
        "A17",
        "system and developer before the user",
        lambda: [chat([says("Be terse.", role), says("Hi")]) for role in ("system", "developer")],
    ),
    answered(
        "A18",
        "system and developer alone",
        lambda: [chat([says("Say hi.", role)]) for role in ("system", "developer")],
    ),
    answered(
        "A19",
        "the assistant's message is the last, as in Open WebUI's Continue",
        lambda: [chat([says("Count to ten."), says("1, 2,", "assistant")])],
    ),
    answered("A20", "a tool call and its result", lambda: [after_a_call(None)]),
    answered("A21", "the same with empty content, as Open WebUI sends it", lambda: [after_a_call("")]),
    answered(
        "A22",
        "keys of other clients, and one that nobody knows",
        lambda: [
            chat(
                top_k=20,
                metadata={"a": "b"},
                store=False,
                user="u",
                seed=7,
                service_tier="auto",
                frequency_penalty=0,
                presence_penalty=0,
                min_p=0.1,
                x_unknown=1,
            )
        ],
    ),
    answered("A23", "null for what is optional", lambda: [chat(**dict.fromkeys(OPTIONAL))]),
    answered("A24", "max_tokens 1", lambda: [chat(STORY, max_tokens=1)], one_token),
    answered(
        "A25",
        "max_completion_tokens 1",
        lambda: [{"model": chat()["model"], "messages": STORY, "max_completion_tokens": 1}],
        one_token,
    ),
    answered(
        "A26",
        "stop, one and several",
        lambda: [chat([says("Say: one two three")], stop=stop) for stop in ("two", ["two", "zzz"])],
        stopped_there,
    ),
    answered("A27", "temperature 0 twice", lambda: [chat(temperature=0, seed=1)], same_again),
    answered("A28", "Chinese, an emoji, Arabic", lambda: [chat([says("重复：你好🌍 مرحبا")])]),
    answered("A29", "response_format text", lambda: [chat(response_format={"type": "text"})]),
    answered(
        "A30",
        "response_format json_object and json_schema",
        lambda: [
            chat(
                [says("Answer as JSON: colour of the sky, key answer.")],
                max_tokens=64,
                response_format=response_format,
            )
            for response_format in FORMATS
        ],
        json_text,
    ),
    answered(
        "A31",
        "tools that may be called, that must be, and the one that must be",
        lambda: [
            chat([says("What is the weather in Rome?")], max_tokens=64, tools=[WEATHER], tool_choice=choice)
            for choice in CHOICES
        ],
        called,
    ),
    answered("A32", "tool_choice none", lambda: [chat(tools=[WEATHER], tool_choice="none")], not_called),
    answered(
        "A33",
        "36 tools of 25 KB, as Open WebUI sends them",
        lambda: [chat(tools=[tool(number) for number in range(36)])],
    ),
    answered("A34", "n 2", lambda: [chat(n=2)], two_choices),
    answered("A35", "logprobs", lambda: [chat(logprobs=True, top_logprobs=2)], logprobs),
)
