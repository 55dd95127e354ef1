"""What grammars let a model write, shown by drawing tokens at random and by what they refuse."""

import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tokenizers
from llguidance import LLMatcher, LLTokenizer

import gateway.chat.schema
from gateway.chat.compiling import compiled
from gateway.chat.conversation import JsonReply, Tool, ToolUse
from gateway.chat.dialect import HERMES, INTERNLM, LLAMA, TAGGED, Dialect
from gateway.chat.grammar import GrammarWriter, Reasoning
from gateway.chat.segments import Form
from gateway.chat.tagged_calls import kinds_of
from gateway.chat.tokenizer import Tokenizer
from gateway.errors import InvalidRequest
from tests.chat.conversations import DEMO
from tests.chat.test_segments import Reply, hermes, internlm, read, tagged

DIALECTS = (HERMES, TAGGED, LLAMA, INTERNLM)
MARKERS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
SPECIAL = ("<|python_tag|>", "<|action_start|>", "<|plugin|>", "<|action_end|>")
CITY = {"type": "string", "maxLength": 12}
LOOK = Tool(
    "look",
    None,
    {"type": "object", "properties": {"city": CITY, "n": {"enum": [1, 2]}}, "required": ["city"]},
)
GO = Tool("go")
TOOLS = (LOOK, GO)
# Where texts are free, tokens drawn at random never come to their end.
CITIES = {
    **(LOOK.parameters or {}),
    "properties": {"city": {"enum": ["Köln", "Rom\ne"]}, "n": {"enum": [1, 2]}},
}
BOTH = ("look", "go")
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 99}, "y": {"type": "boolean"}},
    "required": ["x", "y"],
    "additionalProperties": False,
}


def vocabulary(with_markers: bool) -> tokenizers.Tokenizer:
    """The demo's, by itself or with tokens for markers, as Qwen 3, Llama 3 and InternLM have them."""
    found = tokenizers.Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    if with_markers:
        found.add_tokens([tokenizers.AddedToken(token, normalized=False, special=False) for token in MARKERS])
        found.add_tokens([tokenizers.AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    return found


VOCABULARIES = {with_markers: vocabulary(with_markers) for with_markers in (False, True)}
TOKENIZERS = {with_markers: Tokenizer(found, {}) for with_markers, found in VOCABULARIES.items()}
MATCHED = {
    with_markers: LLTokenizer(found.to_str(), eos_token=found.token_to_id("<|im_end|>"))
    for with_markers, found in VOCABULARIES.items()
}


def grammar(
    dialect: Dialect = HERMES,
    use: ToolUse | None = None,
    reply: JsonReply | None = None,
    reasoning: Reasoning = "none",
    with_markers: bool = True,
    tools: Sequence[Tool] = (),
) -> str:
    tools = tools or ((replace(LOOK, parameters=CITIES), GO) if dialect.tagged else TOOLS)
    found = GrammarWriter(TOKENIZERS[with_markers], dialect).grammar(tools, use, reply, reasoning)
    assert found is not None
    return found


def takes(grammar: str, text: str, with_markers: bool = True) -> bool:
    """Whether a model may write exactly this."""
    matcher = LLMatcher(MATCHED[with_markers], grammar, log_level=0)
    token_ids = TOKENIZERS[with_markers].encode(text)
    return matcher.try_consume_tokens(token_ids) == len(token_ids) and matcher.is_accepting()


def drawn(grammar: str, seed: int, with_markers: bool = True, max_tokens: int = 2000) -> tuple[str, bool]:
    """What a model writes that finds all tokens equally likely, but ends as soon as it may; and whether it
    came to an end."""
    matcher = LLMatcher(MATCHED[with_markers], grammar, log_level=0)
    chance, end = random.Random(seed), MATCHED[with_markers].eos_token
    token_ids: list[int] = []
    for _ in range(max_tokens):
        mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        assert not matcher.is_error(), matcher.get_error()
        allowed = np.nonzero(np.unpackbits(mask, bitorder="little"))[0].tolist()
        if end in allowed and (allowed == [end] or chance.random() < 0.5):
            return text_of(token_ids, with_markers), True
        token_id = chance.choice([each for each in allowed if each != end])
        assert matcher.consume_token(token_id)
        token_ids.append(token_id)
    return text_of(token_ids, with_markers), False


def text_of(token_ids: Sequence[int], with_markers: bool) -> str:
    return TOKENIZERS[with_markers].decode_all(token_ids)


def form(dialect: Dialect, use: ToolUse, reasoning: Reasoning = "none") -> Form:
    return Form(
        thinks=reasoning == "begun",
        may_think=reasoning == "possible",
        dialect=dialect,
        names=frozenset(use.allowed),
        kinds=kinds_of(TOOLS),
        parallel=use.parallel,
    )


@pytest.mark.parametrize("with_markers", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("parallel", [False, True])
def test_a_tool_that_must_be_called_is(dialect: Dialect, with_markers: bool, parallel: bool) -> None:
    use = ToolUse(BOTH, required=True, parallel=parallel)
    num_calls = set()
    for seed in range(40):
        text, ended = drawn(grammar(dialect, use, with_markers=with_markers), seed, with_markers)
        found = read([text], form(dialect, use))
        assert ended
        assert (found.text, found.num_complete) == ("", len(found.calls))
        num_calls.add(len(found.calls))
        for name, written in found.calls:
            arguments = json.loads(written)
            assert arguments == {} if name == "go" else set(arguments) <= {"city", "n"}
            assert arguments.get("n", 1) in (1, 2)
            assert name == "go" or len(arguments["city"]) <= 12
    assert num_calls == {1} if dialect.bare or not parallel else num_calls > {1}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("with_markers", [False, True])
def test_only_the_tools_that_are_allowed_are_called(dialect: Dialect, with_markers: bool) -> None:
    use = ToolUse(("go",), required=True)
    for seed in range(10):
        text, _ = drawn(grammar(dialect, use, with_markers=with_markers), seed, with_markers)
        assert {name for name, _ in read([text], form(dialect, use)).calls} == {"go"}


@pytest.mark.parametrize("reasoning", ["begun", "possible"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("with_markers", [False, True])
def test_reasoning_comes_free_before_what_is_bound(
    dialect: Dialect, with_markers: bool, reasoning: Reasoning
) -> None:
    before = "" if reasoning == "begun" else "<think>"
    use = ToolUse(BOTH, required=True)
    call = called(dialect, "go", "{}")
    for reply, bound in ((None, call), (JsonReply(POINT, "p"), '{"x": 1, "y": true}')):
        asked = grammar(dialect, None if reply else use, reply, reasoning, with_markers)
        for after in ("", "\n\n"):
            assert takes(asked, f"{before}\nHm, {{}}\n</think>{after}{bound}", with_markers)
            assert not takes(asked, f"{before}\nHm\n</think>{after}Well. {bound}", with_markers)
        assert takes(asked, bound, with_markers) == (reasoning == "possible")
        letters = [
            each for letter in f"{before}a</think>b" for each in TOKENIZERS[with_markers].encode(letter)
        ]
        matcher = LLMatcher(MATCHED[with_markers], asked, log_level=0)
        assert matcher.try_consume_tokens(letters) < len(letters)  # its end is one also where it is spelled


def called(dialect: Dialect, name: str, arguments: str) -> str:
    """As the grammars have it."""
    if dialect == HERMES:
        return hermes(name, arguments)
    if dialect == TAGGED:
        return tagged(name, json.loads(arguments))
    if dialect == INTERNLM:
        return internlm(name, arguments).rstrip().replace("<|action_end|>", "\n<|action_end|>")
    return f'{{"name": "{name}", "parameters": {arguments}}}'


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("with_markers", [False, True])
@pytest.mark.parametrize("reasoning", ["none", "begun"])
def test_a_text_is_free_until_a_call_begins(
    dialect: Dialect, with_markers: bool, reasoning: Reasoning
) -> None:
    asked = grammar(dialect, ToolUse(BOTH), reasoning=reasoning, with_markers=with_markers)
    before = "Hm.\n</think>\n\n" if reasoning == "begun" else ""
    good, other, wrong = (
        called(dialect, "look", '{"city": "Köln"}'),
        called(dialect, "away", "{}"),
        called(dialect, "look", '{"city": "Köln", "n": 3}'),
    )
    texts = ["", "Hi <b>there</b> {}\n", '{"answer": 5}', good]
    texts += [] if dialect.bare else [f"Well.\n{good}\n{good}", f"{good} Done."]
    for text in texts:
        assert takes(asked, before + text, with_markers), text
    for text in (other, wrong):
        assert not takes(asked, before + text, with_markers), text
        assert dialect.bare or not takes(asked, f"{before}Well.\n{text}", with_markers)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("with_markers", [False, True])
def test_no_call_is_written_where_none_is_allowed(dialect: Dialect, with_markers: bool) -> None:
    asked = grammar(dialect, ToolUse(()), with_markers=with_markers)
    assert takes(asked, "Hi <b>there</b> {}\n", with_markers)
    assert not takes(asked, called(dialect, "go", "{}"), with_markers)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("with_markers", [False, True])
def test_a_reply_of_json_or_a_call(dialect: Dialect, with_markers: bool) -> None:
    asked = grammar(dialect, ToolUse(BOTH), JsonReply(POINT, "p"), with_markers=with_markers)
    tag = dialect.begin if dialect.bare else ""
    assert takes(asked, '{"x": 1, "y": true}', with_markers)
    assert takes(asked, tag + called(dialect, "go", "{}"), with_markers)
    assert not takes(asked, "Well.", with_markers)
    assert not takes(asked, '{"x": 1}', with_markers)


@pytest.mark.parametrize("schema", [None, POINT])
def test_a_reply_of_json_is_valid(schema: dict[str, Any] | None) -> None:
    num_ended = 0
    for seed in range(60):
        text, ended = drawn(grammar(reply=JsonReply(schema, "response_format")), seed)
        num_ended += ended
        if ended:
            value = json.loads(text)
            assert isinstance(value, dict)
            assert schema is None or (set(value) == {"x", "y"} and 0 <= value["x"] <= 99)
        assert text == text.strip()
    assert num_ended > 30


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ('{"x": 1, "y": true}', True),
        ('{"x":1,"y":true}', False),
        (json.dumps({"x": 1, "y": True}, indent=4), False),
        (' {"x": 1, "y": true}', False),
        ('{"x": 1, "y": true}\n', False),
        ('{"x":  1, "y": true}', False),
        ('{"x": 1 , "y": true}', False),
    ],
)
def test_json_is_written_on_one_line(text: str, taken: bool) -> None:
    assert takes(grammar(reply=JsonReply(POINT, "p")), text) == taken


def test_a_reply_may_begin_with_what_the_template_puts_before_replies() -> None:
    leading = GrammarWriter(TOKENIZERS[True], HERMES, lead=" ")
    for use, reply, text in (
        (None, JsonReply(POINT, "p"), '{"x": 1, "y": true}'),
        (ToolUse(BOTH, required=True), None, hermes("go", "{}")),
    ):
        found = leading.grammar(TOOLS, use, reply, "none")
        assert found
        assert [takes(found, before + text) for before in ("", " ", "  ")] == [True, True, False]


def test_nothing_is_bound_where_nothing_is_asked() -> None:
    assert GrammarWriter(TOKENIZERS[True], HERMES).grammar((), None, None, "possible") is None


def refused(schema: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        grammar(reply=JsonReply(schema, "response_format.json_schema.schema", "point"))
    assert (error.value.param, error.value.code) == (
        "response_format.json_schema.schema",
        "invalid_json_schema",
    )
    return error.value


UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "a keyword": ({"not": {"type": "string"}}, 'These keywords are not supported: "not".'),
    "keywords": ({"if": {}, "then": {}}, 'These keywords are not supported: "if", "then".'),
    "a type": ({"type": "foo"}, "Invalid type: foo."),
    "a format": ({"type": "string", "format": "bogus"}, "Unknown format: bogus."),
    "properties": ({"type": "object", "properties": []}, "properties must be an object."),
    "a pattern": ({"pattern": "^(?=a)"}, "look-around"),
    "no value": ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "Unsatisfiable schema"),
    "itself": ({"$ref": "#"}, "There is no JSON that satisfies it."),
    "elsewhere": ({"$ref": "http://127.0.0.1:9/x"}, "does not fetch resources"),
    "a file": ({"$ref": "file:///etc/passwd"}, "does not fetch resources"),
    "half a surrogate pair": ({"const": "\ud800"}, ""),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_schema_that_cannot_be_held_to_is_refused_with_the_reason(name: str) -> None:
    schema, reason = UNUSABLE[name]
    message = refused(schema).message
    assert message.startswith("Invalid schema for response_format 'point': ")
    assert reason in message
    assert "\n   1 |" not in message


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


HOSTILE: dict[str, dict[str, Any]] = {
    "deep": nested(300),
    "deeper": nested(50_000),
    "a megabyte": {"description": "x" * 1_000_000},
    "many properties": {"type": "object", "properties": {f"p{n}": {} for n in range(5000)}},
    "many enums": {"properties": {f"p{n}": {"enum": [f"{n} {m}" for m in range(300)]} for n in range(60)}},
    "patterns": {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
    "long": {"type": "string", "minLength": 10**9},
    "items": {"type": "array", "minItems": 10**9, "items": {"$ref": "#"}},
    "twice": {
        "$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)} | {"d30": {}},
        "$ref": "#/$defs/d0",
    },
    "product": {
        "allOf": [
            {"anyOf": [{"properties": {f"a{n}{m}": {"type": "string"}}} for m in range(4)]} for n in range(12)
        ]
    },
}


LINKS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "reference": lambda inner: {"$ref": inner},
    "object": lambda inner: {"type": "object", "properties": {"a": {"$ref": inner}}, "required": ["a"]},
    "list": lambda inner: {"type": "array", "items": {"$ref": inner}},
    "any": lambda inner: {"anyOf": [{"$ref": inner}, {"type": "null"}]},
    "all": lambda inner: {"allOf": [{"$ref": inner}]},
}


@pytest.mark.parametrize("kind", LINKS)
def test_references_within_each_other_do_not_end_the_process(kind: str) -> None:
    def chain(size: int) -> dict[str, Any]:
        links = {f"d{n}": LINKS[kind](f"#/$defs/d{n + 1}") for n in range(size)}
        return {"$defs": links | {f"d{size}": {"type": "integer"}}, "$ref": "#/$defs/d0"}

    most = next(size for size in range(1000, 0, -1) if _usable(chain(size)))
    assert 100 < most < 1000
    for size in (1000, 5000):
        assert "$ref in it" in refused(chain(size)).message or "letters" in refused(chain(size)).message


def _usable(schema: dict[str, Any]) -> bool:
    try:
        grammar(reply=JsonReply(schema, "p"))
    except InvalidRequest:
        return False
    return True


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_takes_no_long_time(name: str) -> None:
    start = time.process_time()
    try:
        found = grammar(reply=JsonReply(HOSTILE[name], "p"))
        matcher = LLMatcher(MATCHED[True], found, log_level=0)
        matcher.compute_bitmask()
        assert not matcher.is_error()
    except InvalidRequest:
        pass
    assert time.process_time() - start < 1.5


def test_one_of_several_is_taken_for_any_of_them() -> None:
    kinds = [
        {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]} for kind in "ab"
    ]
    assert takes(grammar(reply=JsonReply({"oneOf": kinds}, "p")), '{"kind": "b"}')
    both = [{"type": "object", "properties": {key: {"type": "integer"}}} for key in "ab"]
    assert takes(grammar(reply=JsonReply({"oneOf": both}, "p")), '{"b": 1}')


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"type": "string"}, "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"string\"'."),
        ({"properties": {"a": {"not": {}}}}, 'These keywords are not supported: "not".'),
    ],
)
@pytest.mark.parametrize(("required", "strict"), [(True, False), (False, True), (False, False)])
def test_a_tool_s_schema_is_held_to_where_the_client_relies_on_it(
    parameters: dict[str, Any], reason: str, required: bool, strict: bool
) -> None:
    tools = (LOOK, Tool("odd", None, parameters, strict))
    use = ToolUse(("look", "odd"), required)
    if not required and not strict:
        assert takes(grammar(use=use, tools=tools), hermes("odd", '{"a": 1}'))
        return
    with pytest.raises(InvalidRequest) as error:
        grammar(use=use, tools=tools)
    assert error.value.message == f"Invalid schema for function 'odd': {reason}"
    assert (error.value.param, error.value.code) == (
        "tools[1].function.parameters",
        "invalid_function_parameters",
    )


@pytest.mark.parametrize(
    ("parameters", "arguments", "taken"),
    [
        ({"properties": {"a": {"type": "string"}}}, {"a": "x\n<b>\n"}, True),
        ({"properties": {"a": {"type": "string"}}}, {}, True),
        ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, {}, False),
        ({"properties": {"a": {"type": "string"}}}, {"b": "x"}, False),
        ({"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, {"a": "null"}, True),
        ({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "integer"}}}, {"a": "x"}, True),
        (
            {"properties": {"a": {"items": {"$ref": "#/$defs/x"}, "type": "array"}}, "$defs": {"x": {}}},
            {"a": [1]},
            True,
        ),
        ({"properties": {"a": {"type": "array"}}}, {"a": "x"}, False),
        (
            {"properties": {"a": {"items": {"$ref": "#/$defs/x"}, "type": "array"}}, "$defs": {"x": {}}},
            {"a": "x"},
            False,
        ),
        ({"properties": {"a": {}}}, {"a": "x"}, True),
        ({"anyOf": [{"properties": {}}]}, {"any": "x"}, True),
        ({"properties": {"a": {"type": "foo"}}, "required": 5}, {"a": "x"}, True),
        (None, {}, True),
        (None, {"a": "x"}, False),
    ],
)
def test_tagged_parameters_are_bound_as_far_as_they_are_no_texts(
    parameters: dict[str, Any] | None, arguments: dict[str, object], taken: bool
) -> None:
    tools = (Tool("look", None, parameters),)
    for use in (ToolUse(("look",)), ToolUse(("look",), parallel=False)):
        assert takes(grammar(TAGGED, use, tools=tools), tagged("look", arguments)) == taken


@pytest.mark.parametrize("dialect", [HERMES, TAGGED])
def test_tools_that_are_too_large_together_are_bound_as_far_as_they_can_be(dialect: Dialect) -> None:
    large = {"type": "object", "properties": {f"a long name {n}": {"type": "integer"} for n in range(100)}}
    names = tuple(f"tool_{n}" for n in range(128))
    tools = [Tool(name, None, large) for name in names[:-1]]
    tools.append(Tool(names[-1], None, POINT, strict=True))
    found = grammar(dialect, ToolUse(names), tools=tools)
    written = tagged if dialect.tagged else lambda name, value: hermes(name, json.dumps(value))
    assert takes(found, written(names[-1], {"x": 1, "y": True}))
    assert not takes(found, written(names[-1], {"x": "one", "y": True}))
    assert takes(found, written(names[5], {"a long name 1": 1}))
    with pytest.raises(InvalidRequest, match="too large together") as refused:
        grammar(dialect, ToolUse(names, required=True), tools=tools)
    assert (refused.value.param, refused.value.code) == ("tools", "invalid_function_parameters")


@pytest.mark.parametrize("required", [False, True])
def test_tools_are_proven_all_at_once(required: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each process of its own, a tenth of a second."""
    runs = []

    def compile_apart(lark: str) -> str:
        runs.append(lark)
        return compiled(lark)

    monkeypatch.setattr(gateway.chat.schema, "compile_apart", compile_apart)
    each = {"type": "object", "properties": {"a": {"type": "string", "minLength": 2, "maxLength": 3}}}
    names = tuple(f"tool_{required}_{n}" for n in range(20))
    tools = [Tool(name, None, {**each, "required": ["a"]}) for name in names]
    found = grammar(HERMES, ToolUse(names, required), tools=tools)
    assert len(runs) == 1
    assert takes(found, hermes(names[3], '{"a": "xy"}'))
    assert not takes(found, hermes(names[3], '{"a": "x"}'))


@pytest.mark.parametrize("dialect", [HERMES, TAGGED])
def test_one_schema_of_no_use_loosens_no_other(dialect: Dialect) -> None:
    wrong = Tool("wrong", None, {"type": "object", "properties": {"a": {"type": "number", "minimum": "x"}}})
    tools = [wrong, Tool("right", None, POINT)]
    found = grammar(dialect, ToolUse(("wrong", "right")), tools=tools)
    written = tagged if dialect.tagged else lambda name, value: hermes(name, json.dumps(value))
    assert takes(found, written("wrong", {"a": 1}))
    assert takes(found, written("right", {"x": 1, "y": True}))
    assert not takes(found, written("right", {"x": 1, "y": "yes"}))


def test_what_no_library_can_compile_together_is_found_out() -> None:
    small = {"type": "object", "properties": {f"p{n}": {} for n in range(100)}}
    names = tuple(f"t{n}" for n in range(128))
    tools = [Tool(name, None, small) for name in names]
    assert takes(grammar(HERMES, ToolUse(names), tools=tools), hermes("t7", "{}"))
    with pytest.raises(InvalidRequest, match="too large together"):
        grammar(HERMES, ToolUse(names, required=True), tools=tools)


def test_a_tagged_text_ends_where_it_is_read_to_end() -> None:
    found = grammar(TAGGED, ToolUse(BOTH, required=True), tools=TOOLS)
    for text, taken in (("a\nb", True), ("</parameter", True), ("a</parameter>b", False)):
        assert takes(found, tagged("look", {"city": text})) == taken


def test_arguments_that_no_schema_tells_of_are_not_written() -> None:
    asked = grammar(use=ToolUse(BOTH))
    assert not takes(asked, hermes("look", '{"city": "Rome", "more": 1}'))
    more = Tool("look", None, {"properties": {}, "additionalProperties": True})
    assert takes(grammar(use=ToolUse(BOTH), tools=(more,)), hermes("look", '{"more": 1}'))


def test_names_are_written_as_json() -> None:
    odd = Tool('a"b\\ü/<x>')
    found, ended = drawn(grammar(use=ToolUse((odd.name,), required=True), tools=(odd,)), seed=1)
    assert ended
    assert read([found]).calls[0] == (odd.name, "{}")


def test_a_free_text_costs_little() -> None:
    """15 µs a token over 151 669 of them, and less over the demo's."""
    text = "The circle is red, and the square is blue. " * 40
    matcher = LLMatcher(MATCHED[True], grammar(use=ToolUse(BOTH)), log_level=0)
    token_ids = TOKENIZERS[True].encode(text)
    start = time.process_time()
    for token_id in token_ids:
        matcher.compute_bitmask()
        assert matcher.consume_token(token_id)
    assert (time.process_time() - start) / len(token_ids) < 0.0005


def test_a_reply_that_is_read_is_the_one_that_was_written() -> None:
    """Calls with arguments as the model may write them come back as they are."""
    use = ToolUse(BOTH, required=True)
    for seed in range(30):
        for dialect in DIALECTS:
            text, _ = drawn(grammar(dialect, use), seed)
            found = read(list(text), form(dialect, use))
            assert found == Reply("", "", found.calls, len(found.calls))
            for name, arguments in found.calls:
                assert dialect.tagged or called(dialect, name, arguments) in text
