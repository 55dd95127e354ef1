"""The model's own chat template: messages -> the text the model was trained to continue.

The environment is that of transformers 5.23 (`apply_chat_template`), so a template gives here what it gives
there: block trimming, loop controls, and the names `raise_exception`, `strftime_now` and `tojson`.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from backends.base import PackageError
from gateway.chat.content import ImagePart, Message, TextPart, ToolCall
from gateway.chat.conversation import Tool
from gateway.chat.dialect import dialect_of
from gateway.chat.folder import read_template
from gateway.chat.segments import THINK
from gateway.chat.template_values import Said, each_string, message_value, tool_value
from gateway.chat.tool_text import apart, with_tools_as_text
from gateway.errors import InvalidRequest

TEMPLATES = Path(__file__).with_name("templates")

log = logging.getLogger(__name__)

# What a template writes of these tells what it knows of tools.
_TOOL = Tool("probe_tool")
_QUESTION = Message("user", (TextPart("?"),))
_CALL = (
    _QUESTION,
    Message("assistant", (), tool_calls=(ToolCall("first_call", "first", '{"probe": 1}'),)),
    Message("tool", (TextPart("done"),), tool_call_id="first_call"),
)
_CALLS = (
    _QUESTION,
    replace(_CALL[1], tool_calls=(*_CALL[1].tool_calls, ToolCall("second_call", "second", '{"probe": 2}'))),
    *_CALL[2:],
    Message("tool", (TextPart("done"),), tool_call_id="second_call"),
)

# Stands where the last message ends, so that what the template writes after it can be cut off. The blank at
# its end tells a template that keeps the text as it is from one that strips it.
_CUT = "<END-OF-LAST-MESSAGE> "


# What the template is given by us; a client's variables go by other names.
_OURS = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message")

MAX_PRODUCT = 10_000_000
"""Letters of a text, or items of a list, that a template makes by multiplication."""


class _Environment(ImmutableSandboxedEnvironment):
    """A product must not be larger than the machine: 'a' * 10 ** 10."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: object, right: object
    ) -> object:
        sizes = [len(side) for side in (left, right) if isinstance(side, str | list | tuple)]
        times = [side for side in (left, right) if isinstance(side, int)]
        if operator == "**" and isinstance(right, int) and abs(right) > 1000:
            raise jinja2.TemplateRuntimeError("a power above 1000")
        if sizes and times and sizes[0] * times[0] > MAX_PRODUCT:
            raise jinja2.TemplateRuntimeError(f"a product of more than {MAX_PRODUCT}")
        return super().call_binop(context, operator, left, right)


class ChatTemplate:
    """`variables` are the special tokens by the names templates use: bos_token, eos_token, …"""

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        """Raises jinja2.TemplateSyntaxError."""
        environment = _Environment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        self._template = environment.from_string(source)
        self._variables = dict(variables)
        self._reserved = frozenset({*_OURS, *variables, *environment.globals})
        self._takes_strings = self._reads_strings()
        self._knows_tools = self._one_call_each = False
        self._knows_tools = self._writes_tools()
        self._one_call_each = not self._writes(_CALLS, "first", "second", "done")
        self.dialect = dialect_of(self._probed(_CALL))
        """How the model was taught to call tools."""
        self.takes_tools = self._writes((_QUESTION,), _TOOL.name, tools=(_TOOL,))
        self.thinks = THINK in source or "enable_thinking" in source
        """Whether it knows of reasoning."""
        self.opening, self.lead = self._opens()
        """What is written to open a reply; and what blanks stand between that and the text of an earlier
        reply, which in a new one the model writes itself."""

    @classmethod
    def load(cls, folder: Path, variables: Mapping[str, str]) -> "ChatTemplate":
        """Raises PackageError naming the file."""
        path, source = read_template(folder)
        try:
            return cls(source, variables)
        except jinja2.TemplateSyntaxError as error:
            raise PackageError(f"{path}: line {error.lineno}: {error.message}") from error
        except RecursionError as error:
            raise PackageError(f"{path}: nested too deep for a template: {error}") from error

    @classmethod
    def built_in(cls, name: str, variables: Mapping[str, str]) -> "ChatTemplate":
        """One of gateway/chat/templates. Raises PackageError for a name that is none of theirs."""
        path = TEMPLATES / f"{name}.jinja"
        if not path.is_file():
            known = ", ".join(sorted(each.stem for each in TEMPLATES.iterdir()))
            raise PackageError(f"There is no built-in chat template '{name}'; there are {known}.")
        return cls(path.read_text("utf-8"), variables)

    @classmethod
    def for_pictures(
        cls, folder: Path, variables: Mapping[str, str], marker: str, fallback: str
    ) -> "ChatTemplate":
        """That of a folder, or the built-in one called `fallback` where it is missing or broken, or does not
        write `marker` once for a picture: many packages come with the template of their language model
        alone. Raises PackageError."""
        try:
            own = cls.load(folder, variables)
        except PackageError as error:
            reason = str(error)
        else:
            if own.marks(marker):
                return own
            reason = f"{folder}: its chat template writes no {marker} for a picture"
        log.warning("%s; taking the built-in template %s", reason, fallback)
        return cls.built_in(fallback, variables)

    def marks(self, marker: str) -> bool:
        """Whether a picture is written, as `marker` and once."""
        try:
            return self.render([Message("user", (ImagePart("", ""), TextPart("?")))]).count(marker) == 1
        except InvalidRequest:
            return False

    def render(
        self,
        messages: Sequence[Message],
        plain: Callable[[str], str] = str,
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The conversation up to where the model goes on: behind the opening of a new assistant message, or,
        if the last message is the assistant's and says something, right behind its text. `plain` is applied
        to every string of the messages, the tools and the client's `variables`, so that only the template
        itself writes special tokens and markers. Tools that the template does not know of, and calls and
        results, are written as text.

        Raises InvalidRequest with the template's own words when it refuses the messages.
        """
        if reserved := self._reserved & set(variables or {}):
            raise InvalidRequest(
                f"Invalid 'chat_template_kwargs'. '{min(reserved)}' is not the client's to set.",
                param="chat_template_kwargs",
                code="invalid_value",
            )
        *before, last = messages
        if opens_reply(messages):
            told = before if last.role == "assistant" and not last.tool_calls else messages
            return self._render(told, plain, tools, variables)
        marked = replace(last, content=(TextPart(last.text + _CUT),))
        text = self._render((*before, marked), plain, tools, variables, opens_reply=False)
        place = text.rfind(_CUT.strip())
        if place < 0:
            raise InvalidRequest("The model's chat template leaves out the last message.", param="messages")
        return text[:place] if text.startswith(_CUT, place) else text[:place].rstrip()

    def _render(
        self,
        messages: Sequence[Message],
        plain: Callable[[str], str] = str,
        tools: Sequence[Tool] = (),
        variables: Mapping[str, Any] | None = None,
        opens_reply: bool = True,
    ) -> str:
        told = apart(messages) if self._one_call_each else messages
        try:
            return self._written(
                [each_string(message_value(each, self._as_text(each)), plain) for each in told],
                [each_string(tool_value(tool), plain) for tool in tools],
                each_string(variables or {}, plain),
                opens_reply,
            )
        except Exception as error:  # a template is a program, and all of Python's errors can come of it
            raise InvalidRequest(
                f"The model's chat template refuses these messages: {error}", param="messages"
            ) from error

    def _written(
        self, messages: Sequence[Said], tools: Sequence[Said], variables: Said, opens_reply: bool
    ) -> str:
        if not self._knows_tools:
            messages = with_tools_as_text(messages, tools)
            if not self._takes_strings:
                messages = [_in_parts(message) for message in messages]
        return self._template.render(
            messages=messages,
            tools=(tools or None) if self._knows_tools else None,
            add_generation_prompt=opens_reply,
            **{**self._variables, **variables},
        )

    def _as_text(self, message: Message) -> bool:
        return self._takes_strings and not (message.images or message.videos)

    def _reads_strings(self) -> bool:
        """Some templates of vision models only know content as a list of parts, and silently show nothing of
        a string; to all others a string is the most usual content there is."""
        probe = {"role": "user", "content": "probe"}
        try:
            return "probe" in self._template.render(messages=[probe], tools=None, **self._variables)
        except Exception:
            return True

    def _opens(self) -> tuple[str, str]:
        reply = Message("assistant", (TextPart("probe"),))
        try:
            asked = self._render([_QUESTION], opens_reply=False)
            opened = self._render([_QUESTION])
            told = self._render([_QUESTION, reply], opens_reply=False)
        except InvalidRequest:
            return "", ""
        lead = told.removeprefix(opened).partition("probe")[0]
        if not opened.startswith(asked) or not told.startswith(opened) or lead.strip():
            return "", ""
        return opened.removeprefix(asked), lead

    def _writes_tools(self) -> bool:
        """Whether the template itself writes tools, calls and results."""
        self._knows_tools = True
        return self._writes((_QUESTION,), _TOOL.name, tools=(_TOOL,)) and self._writes(_CALL, "first", "done")

    def _writes(self, messages: Sequence[Message], *words: str, tools: Sequence[Tool] = ()) -> bool:
        text = self._probed(messages, tools)
        return all(word in text for word in words)

    def _probed(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        try:
            return self._render(messages, tools=tools)
        except InvalidRequest:
            return ""


def opens_reply(messages: Sequence[Message]) -> bool:
    """Whether the reply is a new message; else it goes on with the last one."""
    last = messages[-1]
    return last.role != "assistant" or bool(last.tool_calls) or not last.text.strip()


def _in_parts(message: Said) -> Said:
    content = message["content"]
    return (
        {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own filter escapes for HTML.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
