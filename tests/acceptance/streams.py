"""B: streams, and clients that leave, stall or come all at once."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep
from typing import Any

from tests.acceptance.case import Case, assert_refusal, chat, says, shown
from tests.acceptance.client import Client, Reply

FOREIGN = "你好世界🌍👩‍👩‍👧 한국어 日本語"
SHORT = chat([says("Write three sentences about the sea.")], max_tokens=48)
LONG = chat([says("Count slowly from 1 to 200 in words, one per line.")], max_tokens=400) | {
    "logit_bias": {"0": -100, "2": -100},  # no end of a turn
}


def framing(client: Client) -> None:
    reply = client.stream(SHORT)
    assert reply.headers["content-type"].startswith("text/event-stream")
    chunks = reply.chunks
    assert len({chunk["id"] for chunk in chunks}) == 1
    for chunk in chunks:
        assert (chunk["object"], chunk["model"]) == ("chat.completion.chunk", SHORT["model"])
        assert isinstance(chunk["created"], int)
        assert chunk.get("usage") is None
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert {choice["index"] for choice in choices} == {0}
    assert [choice["delta"].get("role") for choice in choices] == ["assistant", *[None] * (len(choices) - 1)]
    *finishes, last = [choice["finish_reason"] for choice in choices]
    assert last in ("stop", "length")
    assert set(finishes) == {None}
    assert reply.text


def usage_comes_last(client: Client) -> None:
    *before, last = client.stream(SHORT | {"stream_options": {"include_usage": True}}).chunks
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 0
    assert all(chunk["usage"] is None for chunk in before)
    assert last["usage"]["prompt_tokens"] == client.ask(SHORT).completion["usage"]["prompt_tokens"]


def cut_at_three_tokens(client: Client) -> None:
    assert client.stream(SHORT | {"max_tokens": 3}).chunks[-1]["choices"][0]["finish_reason"] == "length"


def one_by_one(client: Client) -> None:
    """At the pace of the card, which takes 40 ms a token."""
    reply = client.stream(LONG | {"max_tokens": 24})
    assert len(reply.chunks) > 8
    assert reply.arrivals[-1] - reply.arrivals[0] > 0.5
    assert all(later > sooner for sooner, later in zip(reply.arrivals, reply.arrivals[4::4], strict=False))


def with_a_picture(client: Client) -> None:
    assert client.stream(shown()).chunks


def whole_characters(client: Client) -> None:
    """Also when the model is made to say them."""
    asked = chat([says(f"Repeat exactly: {FOREIGN}")], max_tokens=128)
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": FOREIGN}}}
    free, made = client.stream(asked), client.stream(asked | {"response_format": schema})
    for reply in (free, made):
        reply.data.decode()
        assert "\ufffd" not in reply.text
    assert json.loads(made.text) == FOREIGN


def refused_before_it_begins(client: Client) -> None:
    assert_refusal(client.ask(shown("data:image/png;base64,!!!!") | {"stream": True}), "invalid_base64", None)


def frees_the_card(leave: Callable[[Client], object]) -> Callable[[Client], None]:
    """What is asked for would take the card a quarter of a minute."""

    def run(client: Client) -> None:
        for _ in range(3):
            leave(client)
        start = monotonic()
        while num_at_work(client):
            assert monotonic() - start < 5
            sleep(0.02)
        assert client.ask(chat()).completion
        assert monotonic() - start < 20

    return run


def num_at_work(client: Client) -> int:
    """Requests that the gateway knows, or that the card has."""
    engine = client.ask(method="GET", path="/health").json["engines"][LONG["model"]]
    stats = engine["stats"]
    return max(int(engine["num_requests"]), int(stats["num_running"] + stats["num_waiting"]))


def leave_a_stream(client: Client) -> None:
    assert len(client.stream(LONG, leave_after=4).arrivals) == 4


def leave_an_answer(client: Client) -> None:
    with client.sending(length(LONG), json.dumps(LONG).encode()):
        sleep(0.5)
        assert num_at_work(client)


def length(body: dict[str, Any]) -> str:
    return f"Content-Length: {len(json.dumps(body).encode())}"


def eight_at_once(client: Client) -> None:
    def ask(number: int) -> Reply:
        return client.stream(chat([says(f"Say the number {number}.")], max_tokens=24))

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(ask, range(8)))
    assert len({frozenset(chunk["id"] for chunk in reply.chunks) for reply in replies}) == 8


def a_reader_that_stops(client: Client) -> None:
    """Each token takes so many bytes that what nobody reads does not fit between the two of them."""
    body = LONG | {"stream": True, "logprobs": True, "top_logprobs": 20}
    with client.sending(length(body), json.dumps(body).encode(), buffer=4096):
        sleep(1)
        start = monotonic()
        assert client.ask(chat()).completion
        assert monotonic() - start < 20


def again_on_the_same_connection(client: Client) -> None:
    with client.connected() as connection:
        assert client.stream(SHORT, on=connection).chunks
        used = connection.sock
        assert client.ask(chat(), on=connection).completion
        assert connection.sock is used is not None


def half_a_body(client: Client) -> None:
    with client.sending("Content-Length: 5000", b'{"model"'):
        start = monotonic()
        assert client.ask(chat()).completion
        assert monotonic() - start < 20


CASES: tuple[Case, ...] = (
    Case("B01", "framing", framing),
    Case("B02", "usage when asked for, and last", usage_comes_last),
    Case("B03", "finish_reason length", cut_at_three_tokens),
    Case("B04", "tokens come one by one", one_by_one, paced=True),
    Case("B05", "a picture", with_a_picture),
    Case("B06", "whole characters", whole_characters),
    Case("B07", "what cannot work is no stream", refused_before_it_begins),
    Case("B08", "who leaves a stream frees the card", frees_the_card(leave_a_stream), paced=True),
    Case("B09", "eight at once", eight_at_once),
    Case("B10", "who does not read blocks nobody", a_reader_that_stops),
    Case("B11", "a connection is used again", again_on_the_same_connection),
    Case("B12", "who leaves an answer frees the card", frees_the_card(leave_an_answer), paced=True),
    Case("B13", "who stalls blocks nobody", half_a_body),
)
