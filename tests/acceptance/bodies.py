"""D: bodies and fields that are wrong."""

from gateway.demo import MODEL_NAME
from tests.acceptance.case import Case, assert_refusal, chat, either, refused, says, without
from tests.acceptance.client import Client

NO_OBJECT: dict[str, object] = {}
NO_ARRAY: list[object] = []
TYPE, VALUE, MISSING = "invalid_type", "invalid_value", "missing_required_parameter"
MESSAGES = f'{{"model":"{MODEL_NAME}","max_tokens":4,"messages":'.encode()
NAN = MESSAGES + b'[{"role":"user","content":"x"}],"temperature":NaN}'
NESTED = MESSAGES + b"[" * 100_000 + b"]" * 100_000 + b"}"
NOT_UTF8 = MESSAGES + b'[{"role":"user","content":"\xff\xfe"}]}'
NOT_TEXT = MESSAGES + b'[{"role":"user","content":"a \\ud800 b \\u0000"}]}'


def context_length(client: Client) -> int:
    """Of the model, as it is told."""
    length: int = client.ask(method="GET", path=f"/v1/models/{MODEL_NAME}").json["context_length"]
    return length


def too_long(client: Client, stream: bool = False) -> None:
    """In words that LangChain and LiteLLM know, and with the numbers."""
    length = context_length(client)
    reply = client.ask(chat([says("word " * 2 * length)], stream=stream))
    assert_refusal(reply, "context_length_exceeded", "messages")
    message = reply.error["message"] or ""
    assert f"This model's maximum context length is {length} tokens" in message
    assert "context_length_exceeded" in message


def other_types_of_content(client: Client) -> None:
    for kind in ("text/plain", ""):
        reply = client.ask(chat(), headers={"content-type": kind})
        if reply.status != 200:
            assert reply.status in (400, 415)
            assert reply.error["type"] == "invalid_request_error"


def n_of_zero_and_of_letters(client: Client) -> None:
    """OpenAI's code is known for 0 alone; a string is as wrong here as in any other number."""
    assert_refusal(client.ask(chat(n=0)), "integer_below_min_value", "n")
    assert_refusal(client.ask(chat(n="x")), "invalid_type", "n")


CASES: tuple[Case, ...] = (
    refused("D01", "not JSON", lambda: [b'{"model": '], None, None),
    refused("D02", "nothing", lambda: [b""], None, None),
    refused("D03", "JSON, but no object", lambda: [b"[]", b'"x"', b"5", b"null"], None, None),
    refused("D04", "no model", lambda: [without("model")], None, None),
    refused("D05", "model 5", lambda: [chat(model=5)], TYPE, "model"),
    refused("D06", "another model", lambda: [chat(model="no-such-model")], "model_not_found", None, 404),
    refused("D07", "no messages", lambda: [without("messages"), chat(messages=None)], MISSING, "messages"),
    refused(
        "D08", "messages no array", lambda: [chat(messages=m) for m in ("hi", NO_OBJECT)], TYPE, "messages"
    ),
    refused("D09", "messages empty", lambda: [chat([])], "empty_array", "messages"),
    refused("D10", "a message no object", lambda: [chat([m]) for m in ("hi", None)], TYPE, "messages[0]"),
    refused("D11", "no role", lambda: [chat([{"content": "hi"}])], MISSING, "messages[0].role"),
    refused(
        "D12",
        "no such role",
        lambda: [chat([{"role": role, "content": "hi"}]) for role in ("wizard", 5, NO_OBJECT)],
        VALUE,
        "messages[0].role",
    ),
    refused(
        "D13",
        "no content",
        lambda: [chat([says(None)]), chat([{"role": "user"}])],
        None,
        "messages.[0].content",
    ),
    refused(
        "D14",
        "content 5 and {}",
        lambda: [chat([says(c)]) for c in (5, NO_OBJECT)],
        TYPE,
        "messages[0].content",
    ),
    either("D15", "empty content", lambda: [chat([says(content)]) for content in (NO_ARRAY, "", "  ")]),
    refused(
        "D16",
        "parts without type, without text, with text 5",
        lambda: [
            chat([says([part])]) for part in ({"text": "x"}, {"type": "text"}, {"type": "text", "text": 5})
        ],
    ),
    refused(
        "D17",
        "an assistant who said nothing",
        lambda: [chat([says("x"), says(None, "assistant"), says("y")])],
    ),
    either(
        "D18",
        "a result without a call",
        lambda: [chat([says("x"), says("y", "tool") | {"tool_call_id": "c9"}])],
        None,
        "messages.[1].role",
    ),
    refused("D19", "max_tokens -1", lambda: [chat(max_tokens=-1)], "integer_below_min_value", "max_tokens"),
    either("D20", "max_tokens 0", lambda: [chat(max_tokens=0)], "integer_below_min_value", "max_tokens"),
    refused(
        "D21",
        "max_tokens no integer",
        lambda: [chat(max_tokens=wrong) for wrong in ("abc", 1.5, True, NO_ARRAY)],
        TYPE,
        "max_tokens",
    ),
    either(
        "D22",
        "max_tokens 10⁹",
        lambda: [chat([says("Say hi and stop.")], max_tokens=10**9)],
        None,
        "max_tokens",
    ),
    refused(
        "D23", "temperature -1", lambda: [chat(temperature=-1)], "decimal_below_min_value", "temperature"
    ),
    refused("D24", "temperature 3", lambda: [chat(temperature=3)], "decimal_above_max_value", "temperature"),
    refused("D25", "temperature no number", lambda: [chat(temperature="hot"), NAN], TYPE, "temperature"),
    refused("D26", "top_p 2", lambda: [chat(top_p=2)], "decimal_above_max_value", "top_p"),
    Case("D27", "n 0 and x", n_of_zero_and_of_letters),
    either("D28", "five stops", lambda: [chat(stop=list("abcde"))], "array_above_max_length", "stop"),
    refused("D29", "stop 5 and [5]", lambda: [chat(stop=stop) for stop in (5, [5])], TYPE, "stop"),
    refused("D30", "stream yes", lambda: [chat(stream="yes")], TYPE, "stream"),
    either(
        "D31",
        "stream_options without stream",
        lambda: [chat(stream_options={"include_usage": True})],
        None,
        "stream_options",
    ),
    refused(
        "D32",
        "response_format sound",
        lambda: [chat(response_format={"type": "sound"})],
        VALUE,
        "response_format.type",
    ),
    either("D33", "tool_choice without tools", lambda: [chat(tool_choice="auto")], None, "tool_choice"),
    refused("D34", "tools that are none", lambda: [chat(tools=tools) for tools in ("x", [NO_OBJECT])]),
    refused("D35", "100,000 brackets", lambda: [NESTED], None, None),
    refused("D36", "not UTF-8", lambda: [NOT_UTF8], None, None),
    either("D37", "half a surrogate pair, a NUL", lambda: [NOT_TEXT]),
    Case("D38", "longer than the context", too_long),
    Case("D39", "longer than the context, as a stream", lambda client: too_long(client, stream=True)),
    Case("D40", "text/plain, and no type at all", other_types_of_content),
    either(
        "D41",
        "the model's name with a blank, in capitals",
        lambda: [chat(model=f"{MODEL_NAME} "), chat(model=MODEL_NAME.swapcase())],
        "model_not_found",
        None,
        404,
    ),
)
