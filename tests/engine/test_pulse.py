"""What a worker says of itself while it works."""

from itertools import groupby
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest

from gateway.engine.engine import Engine
from gateway.engine.messages import Results, Working
from gateway.engine.pulse import Pulse
from tests.engine.toy import ToyDevice, engine, prompt, request


def steps(chat: Engine, pulse: Pulse) -> None:
    while not chat.idle:
        pulse.end(chat.step(pulse.begin))


def heard(connection: Connection) -> list[Results | Working]:
    messages = []
    while connection.poll(0):
        messages.append(connection.recv())
    return messages


def test_what_is_done_is_said_before_it_is_done_and_for_whom() -> None:
    ours, theirs = Pipe()
    chat = engine(ToyDevice())
    chat.submit(request("1", prompt("hello"), max_tokens=3))
    chat.submit(request("2", prompt("you"), max_tokens=2))
    steps(chat, Pulse(theirs, chat))
    said = [
        f"{message.kind} {message.request_id}"
        if isinstance(message, Working)
        else message.items[0].request_id
        for message in heard(ours)
    ]
    assert [each for each, _ in groupby(said)] == [
        *("prefill 1", "1", "decode 1", "1"),
        *("prefill 2", "2", "decode 1", "1", "decode 2", "2"),
    ]


@pytest.mark.parametrize(("heartbeat_s", "num_said"), [(0.0, 3), (1e9, 1)])
def test_a_step_without_results_says_something_from_time_to_time(
    heartbeat_s: float, num_said: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.engine.pulse.HEARTBEAT_S", heartbeat_s)
    ours, theirs = Pipe()
    chat = engine(ToyDevice())
    chat.submit(request("1", prompt("x" * 12), max_tokens=1))  # three chunks, the last one gives a token
    steps(chat, Pulse(theirs, chat))
    results = [message for message in heard(ours) if isinstance(message, Results)]
    assert [len(each.items) for each in results] == [0] * (num_said - 1) + [1]


def test_the_same_work_for_the_same_request_is_said_once_unless_it_takes_longer() -> None:
    ours, theirs = Pipe()
    chat = engine(ToyDevice())
    pulse = Pulse(theirs, chat)
    chat.submit(request("1", prompt("hi"), max_tokens=40))
    steps(chat, pulse)
    said = [message for message in heard(ours) if isinstance(message, Working)]
    assert [each.kind for each in said[:2]] == ["prefill", "decode"]
    longest = [each.longest_s for each in said[1:]]
    assert longest[0] is None
    assert longest[1:] == sorted({each for each in longest[1:] if each is not None})
