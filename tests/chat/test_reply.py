import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chat.characters import Characters
from gateway.chat.reply import Delta, ReplyReader
from gateway.chat.segments import Form
from gateway.chat.tokenizer import Tokenizer
from tests.chat.conversations import DEMO
from tests.chat.models import VOCAB_SIZE

TOKENIZER = Tokenizer.load(DEMO)
SPECIAL = TOKENIZER.encode("<|im_start|>")


def read(token_ids: Sequence[int], *stop: str) -> tuple[list[str], bool]:
    """Every piece of text in order, the last from `finish`, and whether a stop string ended it."""
    reader = ReplyReader(Characters(TOKENIZER), Form(), stop)
    pieces = []
    for token_id in token_ids:
        pieces.append(reader.push(token_id).text)
        if reader.stopped:
            break
    pieces.append(reader.push(None, ended=True).text)
    return pieces, reader.stopped


def cut(text: str, stops: Sequence[str]) -> str:
    """The definition: read character by character, and stop at the first that completes a stop string."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: min(starts)]
    return text


def byte_tokens(data: bytes) -> list[int]:
    """One token per byte, as a byte-level tokenizer falls back to."""
    by_byte: dict[bytes, int] = {}
    for token_id in range(VOCAB_SIZE):
        text = TOKENIZER.decode([token_id])
        if len(text) == 1 and text != "\ufffd":
            by_byte.setdefault(text.encode(), token_id)
    emoji = TOKENIZER.encode("🌍")
    assert len(emoji) == 4
    return [by_byte[bytes([byte])] if byte < 128 else emoji["🌍".encode().index(byte)] for byte in data]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=60))
def test_the_pieces_are_the_decoded_whole_for_any_ids(token_ids: list[int]) -> None:
    pieces, _ = read(token_ids)
    assert "".join(pieces) == TOKENIZER.decode(token_ids)


@settings(max_examples=300, deadline=None)
# No special tokens, and not the character that is dropped.
@given(st.text(st.characters(codec="utf-8", exclude_characters="|\ufffd\ufdd0")))
def test_no_piece_of_a_valid_text_holds_half_a_character(text: str) -> None:
    pieces, _ = read(TOKENIZER.encode(text))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_an_emoji_split_over_tokens_comes_whole() -> None:
    assert read(byte_tokens(b"a" + "🌍".encode() + b"b"))[0] == ["a", "", "", "", "🌍", "b", ""]


def test_bytes_that_never_become_a_character_are_shown_as_such_at_the_end() -> None:
    assert read(byte_tokens(b"a" + "🌍".encode()[:2]))[0] == ["a", "", "", "\ufffd"]


def test_bytes_that_are_no_character_do_not_hold_back_what_follows() -> None:
    assert read(byte_tokens("🌍".encode()[:2] + b"ok"))[0] == ["", "", "\ufffdo", "k", ""]


def test_special_tokens_are_not_shown() -> None:
    assert "".join(read([*SPECIAL, *TOKENIZER.encode("Hi"), *SPECIAL])[0]) == "Hi"


def test_special_tokens_that_are_wanted_are_shown_where_they_stand() -> None:
    characters = Characters(TOKENIZER, shown={SPECIAL[0]: "<|im_start|>"})
    ids = [
        *byte_tokens(b"a" + "🌍".encode()[:2]),
        *SPECIAL,
        *byte_tokens(b"b"),
        *TOKENIZER.encode("<|im_end|>"),
    ]
    pieces = [characters.push(token_id) for token_id in ids]
    assert [*pieces, characters.finish()] == ["a", "", "", "\ufffd<|im_start|>", "b", "", ""]


def test_a_long_reply_is_not_decoded_again_for_every_token() -> None:
    lengths: list[int] = []

    class Counting(Tokenizer):
        def decode(self, token_ids: Sequence[int]) -> str:
            lengths.append(len(token_ids))
            return TOKENIZER.decode(token_ids)

    characters = Characters(Counting.load(DEMO))
    ids = TOKENIZER.encode("What color is the 🌍 circle? " * 200)
    assert "".join(map(characters.push, ids)) + characters.finish() == "What color is the 🌍 circle? " * 200
    assert max(lengths) <= 8


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one two three", ["two"], "one "),
        ("one two three", ["zzz", "three", "two"], "one "),
        ("one two three", ["one"], ""),
        ("one tw", ["two"], "one tw"),
        ("one two", ["two three"], "one two"),
        ("abcd", ["bc", "abcd"], "a"),
        ("abcd", ["bcd", "abcd"], ""),
        ("aab", ["ab"], "a"),
        ("anananas", ["ananas"], "an"),
        ("a\n\nb", ["\n\n"], "a"),
        ("x🌍y", ["🌍"], "x"),
        ("anything", ["thing"], "any"),
    ],
)
def test_the_text_ends_before_the_stop_string_that_completes_first(
    text: str, stop: list[str], expected: str
) -> None:
    pieces, stopped = read(byte_tokens(text.encode()), *stop)
    assert ("".join(pieces), stopped) == (expected, expected != text)


def test_text_that_could_begin_a_stop_string_is_held_back_and_then_shown() -> None:
    assert read(byte_tokens(b"a<b<EN!"), "<END>")[0] == ["a", "", "<b", "", "", "", "<EN!", ""]


def test_what_follows_a_stop_string_is_never_shown() -> None:
    reader = ReplyReader(Characters(TOKENIZER), Form(), ["b"])
    pieces = [reader.push(token_id).text for token_id in byte_tokens(b"abac")]
    assert (pieces, reader.push(None, ended=True)) == (["a", "", "", ""], Delta())


@settings(max_examples=300, deadline=None)
@given(
    st.text("ab", max_size=30),
    st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
)
def test_stop_strings_do_not_depend_on_how_the_text_is_cut_into_tokens(
    text: str, stop: list[str], chance: random.Random
) -> None:
    token_ids: list[int] = []
    place = 0
    while place < len(text):
        size = chance.randint(1, 4)
        token_ids += TOKENIZER.encode(text[place : place + size])
        place += size
    pieces, stopped = read(token_ids, *stop)
    assert "".join(pieces) == cut(text, stop)
    assert stopped == any(each in text for each in stop)


@pytest.mark.parametrize(
    ("lead", "text", "shown"),
    [
        (" ", " blue", "blue"),
        (" ", "blue", "blue"),
        (" ", "  blue", " blue"),
        ("\n\n", "\n\nblue", "blue"),
        ("\n\n", "\nblue", "blue"),
        ("", " blue", " blue"),
    ],
)
def test_what_the_template_puts_before_replies_is_not_part_of_them(lead: str, text: str, shown: str) -> None:
    characters = Characters(TOKENIZER, lead)
    pieces = [characters.push(token_id) for token_id in byte_tokens(text.encode())]
    assert "".join([*pieces, characters.finish()]) == shown
