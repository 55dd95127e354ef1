"""What is told of the tokens of a reply, together with its text."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chat.conversation import Turn
from gateway.chat.logprobs import ShownLogprobs, TokenLogprob
from gateway.chat.reply import Delta
from gateway.engine.prompt import Logprobs, Output, Prompt
from gateway.vision.positions import text_positions
from tests.chat.models import TOKENIZER, model
from tests.chat.test_reply import SPECIAL, byte_tokens

PROMPT = Prompt(np.zeros(1, np.int64), text_positions(1), ())
MODEL = model()


def told(token_ids: Sequence[int], *stop: str) -> list[Delta]:
    """The deltas of a reply whose n-th token has the log probability -n, and token 300 was likelier."""

    async def outputs() -> AsyncGenerator[Output]:
        for place, token_id in enumerate(token_ids, 1):
            logprobs = Logprobs(-place, ((300, -0.5), (token_id, -place)))
            finish = "length" if place == len(token_ids) else None
            yield Output("r", token_id, finish, place, 0, logprobs)  # type: ignore[arg-type]

    async def run() -> list[Delta]:
        return [delta async for delta in MODEL.read_reply(Turn(PROMPT, opens=False), outputs(), stop)]

    return asyncio.run(run())


def chosen(deltas: Sequence[Delta]) -> list[TokenLogprob]:
    return [shown.chosen for delta in deltas for shown in delta.logprobs]


def data(deltas: Sequence[Delta]) -> bytes:
    return b"".join(token.bytes or b"" for token in chosen(deltas))


def test_each_token_is_told_with_its_likeliest() -> None:
    first, second = TOKENIZER.encode("a circle")[:2]
    likely = TokenLogprob(TOKENIZER.token_text(300), TOKENIZER.token_bytes(300), -0.5)
    tokens = [
        TokenLogprob(TOKENIZER.decode([token_id]), TOKENIZER.token_bytes(token_id), -place)
        for place, token_id in enumerate([first, second], 1)
    ]
    found = [shown for delta in told([first, second]) for shown in delta.logprobs]
    assert found == [ShownLogprobs(token, (likely, token)) for token in tokens]


def test_the_tokens_of_one_character_come_with_it() -> None:
    emoji = TOKENIZER.encode("🌍")
    deltas = told([*TOKENIZER.encode("a"), *emoji, *TOKENIZER.encode("!")])
    assert [(delta.text, len(delta.logprobs)) for delta in deltas] == [("a", 1), ("🌍", len(emoji)), ("!", 1)]
    assert chosen(deltas)[1].text == "\ufffd"
    assert data(deltas) == "a🌍!".encode()


def test_a_token_that_is_held_back_is_not_told_before_its_text() -> None:
    deltas = told(byte_tokens(b"a<b<EN!"), "<END>")
    assert [(delta.text, len(delta.logprobs)) for delta in deltas] == [("a", 1), ("<b", 2), ("<EN!", 4)]


def test_tokens_of_a_stop_string_are_not_told() -> None:
    deltas = told(byte_tokens(b"ab<END>c"), "<END>")
    assert [(delta.text, data([delta])) for delta in deltas] == [("a", b"a"), ("b", b"b"), ("", b"")]


def test_a_token_that_a_stop_string_cuts_is_told_whole() -> None:
    (token_id,) = TOKENIZER.encode(" circle")
    deltas = told([token_id], "rcle")
    assert ("".join(delta.text for delta in deltas), data(deltas)) == (" ci", b" circle")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_special_token_has_no_bytes(place: int) -> None:
    token_ids = byte_tokens(b"ab")
    token_ids[place:place] = SPECIAL
    deltas = told(token_ids)
    assert data(deltas) == b"ab"
    assert chosen(deltas)[place] == TokenLogprob("<|im_start|>", None, -1 - place)
    assert len(chosen(deltas)) == 3


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.sampled_from("ab🌍"), max_size=20),
    st.lists(st.text(st.sampled_from("ab🌍"), min_size=1, max_size=3), max_size=2),
    st.randoms(use_true_random=False),
)
def test_the_bytes_of_all_tokens_are_the_text(text: str, stop: list[str], chance: random.Random) -> None:
    token_ids = [
        token_id
        for letter in text + "."
        for token_id in (byte_tokens(letter.encode()) if chance.random() < 0.5 else TOKENIZER.encode(letter))
    ]
    deltas = told(token_ids, *stop)
    shown = "".join(delta.text for delta in deltas)
    assert data(deltas) == shown.encode()
    assert [token.logprob for token in chosen(deltas)] == [-1 - n for n in range(len(chosen(deltas)))]
    # At every moment of a stream, the text is covered.
    for end in range(len(deltas)):
        assert data(deltas[:end]) == "".join(delta.text for delta in deltas[:end]).encode()
