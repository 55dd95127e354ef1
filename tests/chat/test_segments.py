"""What a reply is cut into, whatever pieces it comes in."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.chat.dialect import HERMES, INTERNLM, LLAMA, TAGGED
from gateway.chat.segments import Form, Segments

NAMES = frozenset({"look", "go"})
HERMES_FORM = Form(may_think=True, dialect=HERMES, names=NAMES)
LLAMA_FORM = Form(may_think=True, dialect=LLAMA, names=NAMES)
INTERNLM_FORM = Form(may_think=True, dialect=INTERNLM, names=NAMES)


@dataclass
class Reply:
    """What a client has put together at the end; calls are names and arguments."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    num_complete: int = 0


def read(pieces: Sequence[str], form: Form = HERMES_FORM) -> Reply:
    segments, reply, num_letters = Segments(form), Reply(), 0
    for found in [*map(segments.push, pieces), segments.finish()]:
        for each in found:
            num_letters += each.size
            assert not each.text or each.size == len(each.text)
            reply.text += each.text
            reply.reasoning += each.reasoning
            if call := each.call:
                first = call.index == len(reply.calls)
                assert (call.id is not None) == (call.name is not None) == first
                name, arguments = reply.calls.pop() if not first else (call.name or "", "")
                reply.calls.append((name, arguments + call.arguments))
    assert num_letters <= sum(map(len, pieces))
    reply.num_complete = segments.num_complete
    return reply


def hermes(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def internlm(name: str, arguments: str) -> str:
    call = f'{{"name": "{name}", "parameters": {arguments}}}'
    return f"<|action_start|><|plugin|>\n{call}<|action_end|>\n"


def tagged(name: str, arguments: Mapping[str, object]) -> str:
    written = "".join(
        f"<parameter={key}>\n{value if isinstance(value, str) else json.dumps(value)}\n</parameter>\n"
        for key, value in arguments.items()
    )
    return f"<tool_call>\n<function={name}>\n{written}</function>\n</tool_call>"


TAGGED_FORM = Form(
    may_think=True,
    dialect=TAGGED,
    names=NAMES,
    kinds={"look": {"at": {"string"}, "n": {"integer"}, "or": {"string", "null"}, "all": {"boolean"}}},
)
FORMS = (HERMES_FORM, LLAMA_FORM, INTERNLM_FORM, TAGGED_FORM)

HARD = '{"a": "</tool_call> \\" {", "b": [1, {"c": "\\\\"}], "ü": "🌍"}'

CASES: dict[str, tuple[Form, str, Reply]] = {
    "text": (HERMES_FORM, " Hi <b>there</b>\n", Reply(" Hi <b>there</b>\n")),
    "nothing but blanks": (HERMES_FORM, " \n ", Reply(" \n ")),
    "a call": (HERMES_FORM, hermes("look", HARD), Reply("", "", [("look", HARD)], 1)),
    "calls after a word": (
        HERMES_FORM,
        f"Well.\n\n{hermes('look', '{}')}\n{hermes('go', HARD)}\n\n",
        Reply("Well.", "", [("look", "{}"), ("go", HARD)], 2),
    ),
    "a call between words": (
        HERMES_FORM,
        f"Well. {hermes('look', '{}')}\n Done.",
        Reply("Well.Done.", "", [("look", "{}")], 1),
    ),
    "a list of calls": (
        HERMES_FORM,
        '<tool_call>[{"name": "look", "arguments": {}}, {"name": "go", "arguments": {"a": 1}}]</tool_call>',
        Reply("", "", [("look", "{}"), ("go", '{"a": 1}')], 2),
    ),
    "JSON after a list of calls": (
        HERMES_FORM,
        f'<tool_call>[{{"name": "look"}}]{{"name": "go"}} {hermes("go", "{}")}',
        Reply('{"name": "go"}', "", [("look", "{}"), ("go", "{}")], 2),
    ),
    "arguments before the name": (
        HERMES_FORM,
        '<tool_call>{"arguments": {"a": 1}, "name": "go"}</tool_call>',
        Reply("", "", [("go", '{"a": 1}')], 1),
    ),
    "no arguments": (HERMES_FORM, '<tool_call>{"name": "go"}</tool_call>', Reply("", "", [("go", "{}")], 1)),
    "null for arguments": (HERMES_FORM, hermes("go", "null"), Reply("", "", [("go", "{}")], 1)),
    "arguments in a string": (
        HERMES_FORM,
        hermes("go", '"{\\"a\\": 1}"'),
        Reply("", "", [("go", '{"a": 1}')], 1),
    ),
    "an empty string for arguments": (HERMES_FORM, hermes("go", '""'), Reply("", "", [("go", "{}")], 1)),
    "arguments that are no JSON": (HERMES_FORM, hermes("go", "all"), Reply(hermes("go", "all"))),
    "half a character for a name": (
        HERMES_FORM,
        hermes("\\ud83d", "{}"),
        Reply(hermes("\\ud83d", "{}")),
    ),
    "half a character in arguments in a string": (
        HERMES_FORM,
        hermes("go", '"{\\"a\\": \\"\\ud83d\\"}"'),
        Reply(hermes("go", '"{\\"a\\": \\"\\ud83d\\"}"')),
    ),
    "a line break in a string": (
        HERMES_FORM,
        hermes("go", '{"a": "x\ny\tz"}'),
        Reply("", "", [("go", '{"a": "x\\ny\\tz"}')], 1),
    ),
    "a call that was not closed": (
        HERMES_FORM,
        '<tool_call>\n{"name": "go", "arguments": {"a": 1}',
        Reply("", "", [("go", '{"a": 1}')], 1),
    ),
    "a call that broke off": (
        HERMES_FORM,
        'Well. <tool_call>\n{"name": "go", "arguments": {"a": ',
        Reply("Well.", "", [("go", '{"a": ')], 0),
    ),
    "a call that broke off before its arguments": (
        HERMES_FORM,
        'Well. <tool_call>\n{"name": "go", "argu',
        Reply('Well. <tool_call>\n{"name": "go", "argu', "", [], 0),
    ),
    "a marker that broke off": (HERMES_FORM, "Well.\n<tool_ca", Reply("Well.\n<tool_ca")),
    "a marker and nothing": (HERMES_FORM, "Well. <tool_call>\n", Reply("Well. <tool_call>\n")),
    "no call after a marker, then one": (
        HERMES_FORM,
        f"<tool_call> is how. {hermes('go', '{}')}",
        Reply("<tool_call> is how.", "", [("go", "{}")], 1),
    ),
    "no JSON after its arguments": (
        HERMES_FORM,
        '<tool_call>{"name": "go", "arguments": {"a": 1} oops}\n</tool_call>',
        Reply("oops}\n</tool_call>", "", [("go", '{"a": 1}')], 1),
    ),
    "arguments that are no object": (HERMES_FORM, hermes("go", "[1]"), Reply(hermes("go", "[1]"))),
    "a call without a name": (
        HERMES_FORM,
        '<tool_call>{"arguments": {}}</tool_call>',
        Reply('<tool_call>{"arguments": {}}</tool_call>'),
    ),
    "a call before reasoning ends": (
        HERMES_FORM,
        f"<think>\nHm, {hermes('look', '{}')}?\n</think>\n\n{hermes('go', '{}')}",
        Reply("", f"Hm, {hermes('look', '{}')}?", [("go", "{}")], 1),
    ),
    "reasoning, then text": (HERMES_FORM, "\n<think>\n a </b> \n</think>\n\n b ", Reply("b ", "a </b>")),
    "reasoning that broke off": (HERMES_FORM, "<think>a\n</thi", Reply("", "a\n</thi")),
    "reasoning later on": (HERMES_FORM, "a <think>b</think>", Reply("a <think>b</think>")),
    "no tools": (Form(), hermes("go", "{}"), Reply(hermes("go", "{}"))),
    "no tools, but thought": (
        Form(may_think=True),
        f"<think>a</think>{hermes('go', '{}')}",
        Reply(hermes("go", "{}"), "a"),
    ),
    "begun in reasoning": (Form(thinks=True), "\nHm.\n</think>\nWell.", Reply("Well.", "Hm.")),
    "one call only": (
        Form(dialect=HERMES, names=NAMES, parallel=False),
        f"{hermes('look', '{}')}\n{hermes('go', '{}')} <tool_call>{{",
        Reply("", "", [("look", "{}")], 2),
    ),
    "llama's call": (
        LLAMA_FORM,
        f'\n{{"name": "go", "parameters": {HARD}}}',
        Reply("", "", [("go", HARD)], 1),
    ),
    "llama's calls with a tag": (
        LLAMA_FORM,
        '<|python_tag|>{"type": "function", "name": "what", "parameters": {}}; '
        '{"name": "go", "parameters": {}}',
        Reply("", "", [("what", "{}"), ("go", "{}")], 2),
    ),
    "llama's JSON": (LLAMA_FORM, '{"answer": {"name": "go"}}', Reply('{"answer": {"name": "go"}}')),
    "llama's JSON of a tool that is not there": (
        LLAMA_FORM,
        '{"name": "Ann", "parameters": {}}',
        Reply('{"name": "Ann", "parameters": {}}'),
    ),
    "llama's call behind a word": (
        LLAMA_FORM,
        'So: {"name": "go", "parameters": {}}',
        Reply('So: {"name": "go", "parameters": {}}'),
    ),
    "internlm's call": (
        INTERNLM_FORM,
        f"Well.{internlm('go', HARD)}",
        Reply("Well.", "", [("go", HARD)], 1),
    ),
    "a tagged call": (
        TAGGED_FORM,
        "Well.\n" + tagged("look", {"at": "12", "n": 12, "or": "a\n<b>", "new": [1, "x"]}) + "\n",
        Reply("Well.", "", [("look", '{"at": "12", "n": 12, "or": "a\\n<b>", "new": [1, "x"]}')], 1),
    ),
    "what is no number in a tagged call": (
        TAGGED_FORM,
        tagged("look", {"new": "NaN", "n": "-Infinity"}),
        Reply("", "", [("look", '{"new": "NaN", "n": "-Infinity"}')], 1),
    ),
    "a tagged call without arguments": (TAGGED_FORM, tagged("go", {}), Reply("", "", [("go", "{}")], 1)),
    "tagged calls": (
        TAGGED_FORM,
        f"{tagged('go', {})}\n{tagged('look', {'all': 'True', 'or': 'null', 'n': 'many'})}",
        Reply("", "", [("go", "{}"), ("look", '{"all": true, "or": null, "n": "many"}')], 2),
    ),
    "a tagged call that broke off": (
        TAGGED_FORM,
        "<tool_call>\n<function=look>\n<parameter=n>\n1\n</parameter>\n<parameter=at>\nx",
        Reply("", "", [("look", '{"n": 1')], 0),
    ),
    "a tag of something else": (
        TAGGED_FORM,
        "<tool_call>\n<fun>\n</tool_call>",
        Reply("<tool_call>\n<fun>\n</tool_call>"),
    ),
    "a tag of two lines": (
        TAGGED_FORM,
        "<tool_call><function=go\n></function></tool_call>",
        Reply("<tool_call><function=go\n></function></tool_call>"),
    ),
    "JSON where tags are usual": (TAGGED_FORM, hermes("go", "{}"), Reply("", "", [("go", "{}")], 1)),
    "a broken call of special tokens": (
        Form(dialect=INTERNLM, hidden=("<|action_start|>", "<|plugin|>", "<|action_end|>")),
        "a <|action_start|><|plugin|> b",
        Reply("a  b"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_reply_is_cut_into_what_it_is(name: str) -> None:
    form, text, expected = CASES[name]
    assert read([text], form) == expected


@pytest.mark.parametrize("name", CASES)
def test_it_does_not_matter_where_a_reply_is_split(name: str) -> None:
    form, text, expected = CASES[name]
    assert read(list(text), form) == expected
    for place in range(len(text)):
        assert read([text[:place], text[place:]], form) == expected


FRAGMENTS = (
    *("<tool_call>", "</tool_call>", "<think>", "</think>", "<|python_tag|>"),
    *("<|action_start|><|plugin|>", "<|action_end|>", '{"name": "go"', '"arguments": ', '{"a": 1}', "\\"),
    *(", ", "}", "{", "[", "]", '"', " ", "\n", ";", "<", "x", "null", hermes("look", HARD)),
    *("<function=look>", "<parameter=at>", "<parameter=n>", "</parameter>", "</function>"),
    *(
        tagged("look", {"at": "x", "n": 1}),
        internlm("go", "{}"),
        '{"name": "go", "parameters": {"a": [1, "2"]}}',
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12), st.sampled_from(FORMS), st.randoms())
def test_no_reply_depends_on_where_it_is_split(
    fragments: list[str], form: Form, chance: random.Random
) -> None:
    text = "".join(fragments)
    whole = read([text], form)
    assert read(list(text), form) == whole
    pieces, place = [], 0
    while place < len(text):
        size = chance.randint(1, 9)
        pieces.append(text[place : place + size])
        place += size
    assert read(pieces, form) == whole
    for _, arguments in whole.calls[: whole.num_complete]:
        assert arguments.startswith("{")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12), st.sampled_from(FORMS))
def test_without_a_call_nothing_is_lost_but_reasoning_and_blanks(fragments: list[str], form: Form) -> None:
    text = "".join(fragments)
    found = read([text], form)
    if not found.calls and not text.lstrip().startswith("<think>"):
        assert found.text == text


def held(text: str, form: Form = HERMES_FORM) -> str:
    """What is not yet passed on of a reply that goes on."""
    segments = Segments(form)
    passed = sum(each.size for each in segments.push(text))
    return text[passed:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Well", ""),
        ("Well <b>", ""),
        ("Well. <tool", " <tool"),
        ("Well.\n", "\n"),
        ("a < b", ""),
        ("<thi", "<thi"),
        ("<the", ""),
        ('<tool_call>{"name": "go", "arguments": ', '<tool_call>{"name": "go", "arguments": '),
        ('<tool_call>{"name": "go", "arguments": {"a": "b', ""),
        ("<think>\nHm, </thi", " </thi"),
    ],
)
def test_no_more_is_held_back_than_may_be_a_marker(text: str, expected: str) -> None:
    assert held(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"na', '{"na'),
        ('{"answer"', ""),
        ('{"name": "Ann"', '{"name": "Ann"'),
        ('{"name": "Ann",', ""),
        ("a {", ""),
    ],
)
def test_json_that_is_no_call_is_given_back_as_soon_as_that_is_certain(text: str, expected: str) -> None:
    assert held(text, LLAMA_FORM) == expected


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from([None, 2]),
)
def test_any_arguments_come_as_they_are_written(value: object, indent: int | None) -> None:
    written = json.dumps({"value": value}, indent=indent, ensure_ascii=False)
    assert read(list(hermes("go", written))) == Reply("", "", [("go", written)], 1)
