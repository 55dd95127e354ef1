"""Tools, calls and their results as a part of the text, for chat templates that do not know of them.

The form is Hermes' (dialect.HERMES), with which most models were taught to call tools. All messages here are
as chat templates read them.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from gateway.chat.content import Message
from gateway.chat.dialect import HERMES
from gateway.chat.template_values import Said

RESULT, END_OF_RESULT = "<tool_response>", "</tool_response>"

_BEFORE = """\
# Tools

You may call functions to answer the user. These are there, each as a JSON object within <tools></tools>:
<tools>
"""
_AFTER = f"""
</tools>

To call one, write its name and its arguments as a JSON object within {HERMES.begin}{HERMES.end}:
{HERMES.begin}
{{"name": "the function's name", "arguments": {{"an argument's name": "its value"}}}}
{HERMES.end}
The results come within {RESULT}{END_OF_RESULT}."""


def with_tools_as_text(messages: Sequence[Said], tools: Sequence[Said]) -> list[Said]:
    """The tools stand in the system message, behind what it says; a call in the message of the assistant's
    that makes it; and results that follow one another in one message of the user's."""
    told: list[Said] = []
    results: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            results.append(f"{RESULT}\n{_text(message['content'])}\n{END_OF_RESULT}")
            continue
        _tell(told, results)
        calls = [_call(call["function"]) for call in message.get("tool_calls", ())]
        kept = {key: value for key, value in message.items() if key != "tool_calls"}
        told.append(_followed(kept, "\n", "\n".join(calls)) if calls else kept)
    _tell(told, results)
    return _with_section(told, tools) if tools else told


def apart(messages: Sequence[Message]) -> list[Message]:
    """Several calls of one message as messages of one call, each before its results."""
    told: list[Message] = []
    waiting = list(messages)
    while waiting:
        message = waiting.pop(0)
        if len(message.tool_calls) < 2:
            told.append(message)
            continue
        results = list(takewhile(lambda each: each.role == "tool", waiting))
        waiting = waiting[len(results) :]
        for number, call in enumerate(message.tool_calls):
            content = () if number else message.content
            told.append(replace(message, content=content, tool_calls=(call,)))
            told += [result for result in results if result.tool_call_id == call.id]
        ids = {call.id for call in message.tool_calls}
        told += [result for result in results if result.tool_call_id not in ids]
    return told


def _tell(told: list[Said], results: list[str]) -> None:
    if results:
        told.append({"role": "user", "content": "\n".join(results)})
        results.clear()


def _call(function: Said) -> str:
    arguments = function["arguments"]
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    name = json.dumps(function["name"], ensure_ascii=False)
    return f'{HERMES.begin}\n{{"name": {name}, "arguments": {written or "{}"}}}\n{HERMES.end}'


def _with_section(messages: list[Said], tools: Sequence[Said]) -> list[Said]:
    section = _BEFORE + "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools) + _AFTER
    if messages[0]["role"] == "system":
        return [_followed(messages[0], "\n\n", section), *messages[1:]]
    return [{"role": "system", "content": section}, *messages]


def _followed(message: Said, between: str, text: str) -> Said:
    content = message["content"]
    behind = between + text if _text(content) else text
    if isinstance(content, str):
        return {**message, "content": content + behind}
    return {**message, "content": [*content, {"type": "text", "text": behind}]}


def _text(content: str | Sequence[Said]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
