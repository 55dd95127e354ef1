"""Several replies to one prompt: the first is asked for, and with its first token the others."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from gateway.engine.engine import Engine
from gateway.engine.prompt import Output, Prompt, Request
from tests.engine.toy import ToyDevice, engine, picture, prompt, request

LONG = "a question that takes several chunks"


def choices(asked: Prompt, number: int, max_tokens: int = 6, name: str | None = None) -> list[Request]:
    """Seeded as the API does it, each with a seed of its own."""
    plain = request("0", asked, max_tokens, name=name)
    return [
        replace(plain, id=str(n), sampling=replace(plain.sampling, temperature=1.0, seed=n))
        for n in range(number)
    ]


def told(chat: Engine, requests: Sequence[Request]) -> list[list[int]]:
    """What each says, where the others come with the first token of the first."""
    said: list[list[int]] = [[] for _ in requests]
    first, *others = requests
    chat.submit(first)
    while not chat.idle:
        for result in chat.step():
            assert isinstance(result, Output), result
            assert result.token_id is not None
            said[int(result.request_id)].append(result.token_id)
            while others:
                chat.submit(others.pop())
    return said


def alone(requests: Sequence[Request]) -> Iterator[list[int]]:
    for one in requests:
        yield told(engine(ToyDevice()), [replace(one, id="0")])[0]


@pytest.mark.parametrize("name", [None, "chat"])
@pytest.mark.parametrize("asked", [prompt(LONG), prompt("look ", picture("red"), LONG)])
def test_each_further_reply_costs_one_prefill_call(asked: Prompt, name: str | None) -> None:
    device = ToyDevice()
    chat = engine(device)
    requests = choices(asked, 4, name=name)
    assert told(chat, requests) == list(alone(requests))
    num_chunks = -(-asked.num_tokens // 4)
    assert (len(device.prefills), device.prefills[num_chunks:]) == (num_chunks + 3, [1, 1, 1])
    assert (device.num_forks, chat.stats.sessions.num_resident) == (3, 4)


@pytest.mark.parametrize("name", [None, "chat"])
@pytest.mark.parametrize("chosen", range(3))
def test_the_next_turn_goes_on_with_the_reply_that_was_chosen(chosen: int, name: str | None) -> None:
    device = ToyDevice()
    chat = engine(device)
    said = told(chat, choices(prompt(LONG), 3, name=name))
    assert len({tuple(each) for each in said}) == 3
    device.prefills.clear()
    turn = choices(prompt(LONG, "".join(map(chr, said[chosen])), "and then"), 3, max_tokens=3, name=name)
    assert told(chat, turn) == list(alone(turn))
    # The last token of the reply and the eight new ones; the other replies copy that, though each has a
    # session from the turn before that it could go on with.
    assert device.prefills == [4, 4, 1, 1, 1]


@pytest.mark.parametrize("name", [None, "chat"])
@pytest.mark.parametrize("max_caches", [1, 2, 3])
def test_with_fewer_caches_than_replies_they_take_turns(max_caches: int, name: str | None) -> None:
    device = ToyDevice(max_caches=max_caches)
    chat = engine(device, max_sessions=4)
    requests = choices(prompt(LONG), 5, name=name)
    assert told(chat, requests) == list(alone(requests))
    assert len(device.prefills) == 9 + 4
    assert device.num_caches == max_caches
