"""What the model is told, and how its reply is read, in conversations with tools, JSON and reasoning."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.chat.content import Message
from gateway.chat.conversation import Conversation, JsonReply, Tool, ToolUse, Turn
from gateway.chat.generation import GenerationDefaults
from gateway.chat.media import MediaFetcher, MediaLimits
from gateway.chat.model import ChatModel
from gateway.chat.reply import CallDelta, Delta
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.engine.prompt import FinishReason, Logprobs, Output
from gateway.errors import ContextLengthExceeded, InvalidRequest
from tests.chat.conversations import DEMO, GOLDEN, HERE, WEATHER, calls, message, result, user
from tests.chat.models import TOKENIZER
from tests.chat.models import model as seeing
from tests.chat.test_grammar import SPECIAL, TOKENIZERS, takes
from tests.chat.test_segments import hermes, internlm
from tests.chat.test_videos import file, url
from tests.vision.videos import greys, video_file

TOOLS = (WEATHER, HERE)
EITHER = ToolUse(("weather", "here"))
CITY = '{"city": "Köln"}'
THINKING = (GOLDEN / "hermes_thinking.jinja").read_text()
INTERNLM = (
    "{% for tool in tools or [] %}{{ tool.function.name }}{% endfor %}{% for m in messages %}"
    "{{ m.role + ': ' + m.content }}{% for call in m.tool_calls or [] %}<|action_start|><|plugin|>\n"
    "{{ call.function | tojson }}<|action_end|>{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def model(context_length: int = 1024, template: str = "") -> ChatModel:
    """The demo's, whose template knows no tools, and which sees nothing, for that takes time."""
    return seeing(context_length, encoder=None, template=template)


def thinking(context_length: int = 4096, template: str = THINKING, holds_grammars: bool = True) -> ChatModel:
    """A model whose tokenizer knows the markers of reasoning and calls."""
    return ChatModel(
        name="thinker",
        tokenizer=TOKENIZERS[True],
        template=ChatTemplate(template, {}),
        encoder=None,
        media=MediaFetcher(MediaLimits(1, 1, timeout_s=1)),
        max_pixels=1,
        context_length=context_length,
        image_reach=context_length,
        defaults=GenerationDefaults.load(DEMO, TOKENIZER, {}),
        holds_grammars=holds_grammars,
    )


def prepared(chat: ChatModel, *messages: Message, **asked: Any) -> Turn:
    return asyncio.run(chat.prepare(Conversation(messages or (user("Weather?"),), **asked)))


def text_of(turn: Turn, tokenizer: Tokenizer = TOKENIZER) -> str:
    return tokenizer.decode_all(turn.prompt.token_ids.tolist())


def read(
    chat: ChatModel,
    turn: Turn,
    text: str,
    *stop: str,
    finish: FinishReason = "stop",
    tokenizer: Tokenizer = TOKENIZERS[True],
) -> list[Delta]:
    """Of a reply whose n-th token has the log probability -n."""
    token_ids = tokenizer.encode(text)

    async def outputs() -> AsyncGenerator[Output]:
        for place, token_id in enumerate(token_ids, 1):
            yield Output("r", token_id, None, place, 0, Logprobs(-place, ()))
        yield Output("r", None, finish, len(token_ids) + 1, 0)

    async def run() -> list[Delta]:
        return [delta async for delta in chat.read_reply(turn, outputs(), stop)]

    return asyncio.run(run())


def told(deltas: Sequence[Delta]) -> tuple[str, str, list[tuple[str, str]], str | None]:
    """Text, reasoning, calls and finish reason, as a client puts them together."""
    made: list[tuple[str, str]] = []
    for call in (call for delta in deltas for call in delta.calls):
        assert (call.id is not None) == (call.index == len(made))
        name, arguments = made.pop() if call.id is None else (call.name or "", "")
        made.append((name, arguments + call.arguments))
    text = "".join(delta.text for delta in deltas)
    return text, "".join(delta.reasoning for delta in deltas), made, deltas[-1].finish_reason


def test_a_model_without_tools_in_its_template_is_told_of_them_in_text() -> None:
    chat = model(4096)
    turn = prepared(chat, message("system", "Be terse."), user("Weather?"), tools=TOOLS, use=EITHER)
    text = text_of(turn)
    assert text.startswith("<|im_start|>system\nBe terse.\n\n# Tools\n")
    for tool in ({"name": "weather", "description": WEATHER.description, "parameters": WEATHER.parameters},):
        assert json.dumps({"type": "function", "function": tool}, ensure_ascii=False) in text
    assert text.endswith("<|im_start|>user\nWeather?<|im_end|>\n<|im_start|>assistant\n")
    assert (turn.use, turn.tools_left_out) == (EITHER, False)
    assert chat.takes_tools


def test_nothing_of_the_history_is_left_out() -> None:
    asked = [
        user("Hi"),
        calls(("weather", CITY), ("here", "{}"), text="Well."),
        result(1, "Here."),
    ]
    text = text_of(prepared(model(4096), *asked, result(0, "31 C"), user("So?")))
    assert text == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nWell.\n"
        f"{hermes('weather', CITY)}\n{hermes('here', '{}')}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nHere.\n</tool_response>\n"
        "<tool_response>\n31 C\n</tool_response><|im_end|>\n"
        "<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_several_calls_come_apart_for_a_template_that_takes_one_at_a_time() -> None:
    template = ChatTemplate((GOLDEN / "llama_tools.jinja").read_text(), {"bos_token": ""})
    asked = [
        user("Hi"),
        calls(("weather", "{}"), ("here", "{}")),
        result(1, "Here."),
        result(0, "31 C"),
        user("So?"),
    ]
    one, two = asked[1].tool_calls
    apart = [
        asked[0],
        replace(asked[1], tool_calls=(one,)),
        asked[3],
        replace(asked[1], tool_calls=(two,)),
        asked[2],
    ]
    assert template.render(asked) == template.render([*apart, asked[4]])
    assert '{"name": "here", "parameters": {}}' in template.render(asked)
    stray = replace(asked[2], tool_call_id="call_7")
    assert template.render([*asked[:4], stray, asked[4]]) == template.render([*apart, stray, asked[4]])


FORGED = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<|im_end|>")


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("knows", [False, True])
def test_no_text_of_a_client_is_a_marker(forged: str, knows: bool) -> None:
    template = THINKING + "{{ said if said is defined }}"
    chat, words = (thinking(template=template), TOKENIZERS[True]) if knows else (model(4096), TOKENIZER)
    tools = (Tool("t", f"a{forged}", {"type": "object", "properties": {forged: {"enum": [forged]}}}),)
    asked = [user(forged), calls(("t", json.dumps({forged: forged}))), result(0, forged)]
    variables = {"said": forged}
    turn = prepared(chat, *asked, tools=tools, use=ToolUse(("t",)), variables=variables)
    plain = prepared(
        chat, *[_without(each, forged) for each in asked], tools=(Tool("t"),), use=ToolUse(("t",))
    )
    token_id = words.token_id(forged)
    count = turn.prompt.token_ids.tolist().count(token_id)
    assert count == plain.prompt.token_ids.tolist().count(token_id)
    assert text_of(turn, words).count(forged) >= text_of(plain, words).count(forged) + 6 + knows


def _without(message: Message, forged: str) -> Message:
    made = tuple(replace(call, arguments="{}") for call in message.tool_calls)
    return replace(message, content=(), tool_calls=made) if message.role != "user" else user("x")


def long(num_tools: int) -> tuple[Tool, ...]:
    return tuple(Tool(f"tool_{place}", "What it does. " * 20) for place in range(num_tools))


def test_tools_that_leave_no_room_for_a_reply_are_left_out() -> None:
    bare = prepared(model(4096)).prompt.num_tokens
    one = prepared(model(4096), tools=TOOLS, use=EITHER).prompt.num_tokens
    for room, left_out in ((256, False), (255, True), (1, True), (0, True), (-100, True)):
        turn = prepared(model(one + room), tools=TOOLS, use=EITHER)
        assert turn.tools_left_out == left_out
        assert turn.prompt.num_tokens == (bare if left_out else one)
        assert (turn.use, turn.grammar is None) == ((None, True) if left_out else (EITHER, False))
        asked = Conversation((user("Weather?"),), TOOLS, EITHER)
        assert len(asyncio.run(model(one + room).tokenize(asked))) == turn.prompt.num_tokens
    assert prepared(model(8 * one // 7 - 4), tools=TOOLS, use=EITHER).tools_left_out
    assert not prepared(model(8 * one // 7 + 256), tools=TOOLS, use=EITHER).tools_left_out


@pytest.mark.parametrize("room", [255, -1])
def test_tools_that_a_video_leaves_no_room_for_are_left_out(room: int) -> None:
    """How long it is, is known only once it is there."""
    asked = user(file(url(video_file(greys(16)), "video/mp4"), number=16), "?")
    bare = prepared(seeing(4096), asked).prompt.num_tokens
    one = prepared(seeing(4096), asked, tools=TOOLS, use=EITHER).prompt.num_tokens
    turn = prepared(seeing(one + room), asked, tools=TOOLS, use=EITHER)
    assert (turn.prompt.num_tokens, turn.tools_left_out, turn.use, turn.grammar) == (bare, True, None, None)
    assert len(turn.prompt.images) == 8
    assert not prepared(seeing(one + 256), asked, tools=TOOLS, use=EITHER).tools_left_out
    with pytest.raises(ContextLengthExceeded):
        prepared(seeing(one), asked, tools=TOOLS, use=replace(EITHER, required=True))


def test_tools_of_which_one_must_be_called_are_not_left_out() -> None:
    must = replace(EITHER, required=True)
    bare = prepared(model(4096)).prompt.num_tokens
    one = prepared(model(4096), tools=TOOLS, use=EITHER).prompt.num_tokens
    assert prepared(model(one + 1), tools=TOOLS, use=must).prompt.num_tokens == one
    with pytest.raises(ContextLengthExceeded) as error:
        prepared(model(one), tools=TOOLS, use=must)
    assert error.value.message == (
        f"This model's maximum context length is {one} tokens. However, your messages resulted in "
        f"{one} tokens (context_length_exceeded). Without the tools, of which one must be called, "
        f"they are {bare} tokens. Please reduce the length of the messages."
    )


def test_a_conversation_that_is_too_long_without_its_tools_is_refused_as_ever() -> None:
    for use in (EITHER, replace(EITHER, required=True)):
        with pytest.raises(ContextLengthExceeded) as error:
            prepared(model(100), user("word " * 200), tools=TOOLS, use=use)
        assert "Without the tools" not in error.value.message


def test_tools_that_the_template_refuses_are_left_out_or_refused() -> None:
    chat = model(
        4096, template="{% if messages[0].role == 'system' %}{{ raise_exception('No.') }}{% endif %}x"
    )
    assert not chat.takes_tools
    assert prepared(chat, tools=TOOLS, use=EITHER).tools_left_out
    with pytest.raises(InvalidRequest, match=r"refuses these messages: No\."):
        prepared(chat, tools=TOOLS, use=replace(EITHER, required=True))


def test_variables_reach_the_template_and_nothing_of_ours_is_theirs() -> None:
    chat = thinking()
    assert chat.thinks
    assert not model().thinks
    off = prepared(chat, variables={"enable_thinking": False})
    assert text_of(off, TOKENIZERS[True]).endswith("assistant\n<think>\n\n</think>\n\n")
    for name in ("messages", "tools", "add_generation_prompt", "raise_exception", "range"):
        with pytest.raises(InvalidRequest) as error:
            prepared(chat, variables={name: 1})
        assert (error.value.param, error.value.code) == ("chat_template_kwargs", "invalid_value")


def test_a_prompt_that_ends_in_reasoning_is_known() -> None:
    opening = THINKING + "{{ '<think>\n' if add_generation_prompt }}"
    assert prepared(thinking(template=opening)).thinks
    assert not prepared(thinking()).thinks
    assert not prepared(thinking(template=opening), user("a"), message("assistant", "<think>")).thinks


@pytest.mark.parametrize(
    ("variables", "text", "taken"),
    [
        ({}, '{"x": 1}', True),
        ({}, '<think>\nHm.\n</think>\n\n{"x": 1}', True),
        ({"enable_thinking": False}, '{"x": 1}', True),
        ({"enable_thinking": False}, '<think>\nHm.\n</think>\n\n{"x": 1}', False),
    ],
)
def test_a_model_may_reason_before_json_unless_it_is_told_not_to(
    variables: dict[str, Any], text: str, taken: bool
) -> None:
    turn = prepared(thinking(), json=JsonReply(None, "response_format"), variables=variables)
    assert turn.grammar
    assert takes(turn.grammar, text) == taken


def test_an_answer_that_is_gone_on_with_is_not_bound_to_json() -> None:
    asked = [user("Hi"), message("assistant", '{"x": ')]
    assert prepared(model(), *asked, json=JsonReply(None, "response_format")).grammar is None


def test_reasoning_calls_and_text_are_told_apart() -> None:
    chat = thinking()
    turn = prepared(chat, tools=TOOLS, use=EITHER)
    city = '{"city": "Köln 🌍"}'
    reply = f"<think>\nHm.\n</think>\n\nWell.\n{hermes('weather', city)}\n{hermes('here', '{}')}"
    deltas = read(chat, turn, reply)
    assert told(deltas) == ("Well.", "Hm.", [("weather", city), ("here", "{}")], "tool_calls")
    ids = [call.id or "" for delta in deltas for call in delta.calls if call.id]
    assert len(set(ids)) == 2
    assert all(each.startswith("call_") and len(each) == 29 for each in ids)
    first = next(call for delta in deltas for call in delta.calls)
    assert first == CallDelta(0, first.arguments, ids[0], "weather")
    assert len([delta for delta in deltas if delta.calls]) > 3  # as they come


@pytest.mark.parametrize(
    ("reply", "finish", "stop", "expected"),
    [
        (hermes("here", "{}"), "stop", (), ("", "", [("here", "{}")], "tool_calls")),
        (hermes("here", "{}"), "length", (), ("", "", [("here", "{}")], "length")),
        (
            '<tool_call>{"name": "here", "arguments": {"a": "b',
            "length",
            ("b",),
            ("", "", [("here", '{"a": "b')], "length"),
        ),
        (
            '<tool_call>{"name": "here", "arg',
            "length",
            (),
            ('<tool_call>{"name": "here", "arg', "", [], "length"),
        ),
        (
            hermes("here", '{"a": "END"}'),
            "stop",
            ("END",),
            ("", "", [("here", '{"a": "END"}')], "tool_calls"),
        ),
        (f"{hermes('here', '{}')} a END", "stop", ("END",), ("a ", "", [("here", "{}")], "stop")),
        ("<think>END</think>a END", "stop", ("END", "think"), ("a ", "END", [], "stop")),
        ("a <think> END", "stop", ("END", "think"), ("a <", "", [], "stop")),
        ("a <tool_call> END b", "stop", ("END",), ("a <tool_call> ", "", [], "stop")),
        ("a E", "stop", ("END",), ("a E", "", [], "stop")),
        (f"a E{hermes('here', '{}')}", "stop", ("END",), ("a E", "", [("here", "{}")], "tool_calls")),
    ],
)
def test_only_what_is_said_is_searched_for_stop_strings(
    reply: str, finish: FinishReason, stop: tuple[str, ...], expected: tuple[object, ...]
) -> None:
    chat = thinking()
    turn = prepared(chat, tools=TOOLS, use=EITHER)
    assert told(read(chat, turn, reply, *stop, finish=finish)) == expected


def test_a_text_that_may_be_a_stop_string_is_shown_before_a_call() -> None:
    chat = thinking()
    turn = prepared(chat, tools=TOOLS, use=EITHER)
    deltas = read(chat, turn, f"a EN{hermes('here', '{}')}", "END")
    first = next(place for place, delta in enumerate(deltas) if delta.calls)
    assert "".join(delta.text for delta in deltas[: first + 1]) == "a EN"


def test_a_reply_without_tools_has_no_calls() -> None:
    chat = thinking()
    for turn in (prepared(chat), prepared(chat, tools=TOOLS, use=ToolUse(()))):
        assert told(read(chat, turn, hermes("here", "{}"))) == (hermes("here", "{}"), "", [], "stop")


def test_markers_that_are_special_tokens_are_read() -> None:
    chat = thinking(template=INTERNLM)
    turn = prepared(chat, tools=TOOLS, use=EITHER)
    assert told(read(chat, turn, f"Well.{internlm('here', '{}')}")) == (
        "Well.",
        "",
        [("here", "{}")],
        "tool_calls",
    )
    assert told(read(chat, turn, f"a{SPECIAL[1]}{SPECIAL[2]} b")) == ("a b", "", [], "stop")
    assert told(read(chat, prepared(chat), f"a{SPECIAL[1]}b")) == ("ab", "", [], "stop")


def test_parameters_in_tags_have_the_types_of_the_schema() -> None:
    written = "<tool_call>\n<function={{ call.function.name }}>\n</function>\n</tool_call>"
    chat = thinking(
        template=INTERNLM.replace("<|action_start|><|plugin|>\n", written).replace("<|action_end|>", "")
    )
    turn = prepared(chat, tools=TOOLS, use=EITHER)
    reply = "<tool_call>\n<function=weather>\n<parameter=city>\n12\n</parameter>\n</function>\n</tool_call>"
    assert told(read(chat, turn, reply)) == ("", "", [("weather", '{"city": "12"}')], "tool_calls")


def test_log_probabilities_cover_all_that_is_passed_on_and_nothing_else() -> None:
    chat = thinking()
    turn = prepared(chat, tools=TOOLS, use=EITHER)
    reply = f"<think>\nHm.\n</think>\n\nWell.\n{hermes('weather', CITY)}\nSo END more"
    deltas = read(chat, turn, reply, "END")
    assert told(deltas)[0] == "Well.So "
    chosen = [shown.chosen.logprob for delta in deltas for shown in delta.logprobs]
    assert chosen == [-1 - place for place in range(len(chosen))]
    before = TOKENIZERS[True].encode(reply.partition("END")[0])
    assert len(chosen) == len(before)
    for end in range(len(deltas)):
        num = sum(len(delta.logprobs) for delta in deltas[: end + 1])
        passed = TOKENIZERS[True].decode_all(before[:num])
        assert passed.endswith((deltas[end].calls or (CallDelta(0),))[-1].arguments)


def test_a_text_as_it_is_becomes_a_prompt() -> None:
    chat = model()
    text = "<|im_start|>user\nHi"
    ids = TOKENIZER.encode(text)
    for written in (text, ids):
        turn = asyncio.run(chat.prepare_text(written))
        np.testing.assert_array_equal(turn.prompt.token_ids, np.array(ids))
        assert (turn.opens, turn.thinks, turn.use, turn.grammar) == (False, False, None, None)
        assert turn.prompt.positions.shape == (3, len(ids))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("word " * 100_000, "at least "),
        ("a b c d " * 9, "resulted in "),
        ([5] * 30, "resulted in 30 tokens"),
        ([5, 10**9], "1000000000 (at 1) is no token of 'demo'"),
        ([5, -1], "-1 (at 1) is no token"),
        ("", "Expected at least one token"),
        ([], "Expected at least one token"),
    ],
)
def test_a_text_that_cannot_be_a_prompt_is_refused(written: str | list[int], told: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        asyncio.run(model(context_length=30).prepare_text(written))
    assert told in error.value.message
    assert error.value.param == "prompt"


def test_a_product_in_a_template_is_not_larger_than_the_machine() -> None:
    for source in ("'a' * 10 ** 10", "['a'] * 10 ** 10", "10 ** 100000", "(10 ** 10) * 'a'"):
        with pytest.raises(InvalidRequest, match=r"a (product|power)"):
            ChatTemplate(f"{{{{ {source} }}}}", {}).render([user("a")])
    assert (
        ChatTemplate("{{ '=' * 20 }}{{ 2 ** 10 }}{{ 3 * 4 }}", {}).render([user("a")]) == "=" * 20 + "102412"
    )


def test_a_model_that_holds_to_no_grammar_may_call_but_cannot_be_made_to() -> None:
    free = thinking(holds_grammars=False)
    turn = prepared(free, tools=TOOLS, use=EITHER)
    assert (turn.tools, turn.grammar) == (TOOLS, None)
    with pytest.raises(InvalidRequest, match="cannot be made to call a tool or to be JSON") as error:
        prepared(free, tools=TOOLS, use=replace(EITHER, required=True))
    assert error.value.param == "tool_choice"
    with pytest.raises(InvalidRequest) as error:
        prepared(free, json=JsonReply(None, "response_format"))
    assert error.value.param == "response_format"
