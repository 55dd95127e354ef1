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
from gateway.chat.content import ImagePart, Message, TextPart, ToolCall, VideoPart
from gateway.chat.folder import read_json
from gateway.errors import InvalidRequest

TEMPLATES = Path(__file__).with_name("templates")

log = logging.getLogger(__name__)

# Stands where the last message ends, so that what the template writes after it can be cut off. The blank at
# its end tells a template that keeps the text as it is from one that strips it.
_CUT = "<END-OF-LAST-MESSAGE> "


class ChatTemplate:
    """`variables` are the special tokens by the names templates use: bos_token, eos_token, …"""

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        """Raises jinja2.TemplateSyntaxError."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        self._template = environment.from_string(source)
        self._variables = dict(variables)
        self._takes_strings = self._reads_strings()
        self.shows_tool_calls = self._writes_tool_calls()
        self.opening, self.lead = self._opens()
        """What is written to open a reply; and what blanks stand between that and the text of an earlier
        reply, which in a new one the model writes itself."""

    @classmethod
    def load(cls, folder: Path, variables: Mapping[str, str]) -> "ChatTemplate":
        """Raises PackageError naming the file."""
        path, source = _source(folder)
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

    def render(self, messages: Sequence[Message], plain: Callable[[str], str] = str) -> str:
        """The conversation up to where the model goes on: behind the opening of a new assistant message, or,
        if the last message is the assistant's and says something, right behind its text. `plain` is applied
        to every string of the messages, so that only the template itself writes special tokens and markers.
        Raises InvalidRequest with the template's own words when it refuses the messages."""
        *before, last = messages
        if last.role != "assistant" or last.tool_calls:
            return self._render([self._message(message) for message in messages], plain, opens_reply=True)
        if not last.text.strip():
            return self._render([self._message(message) for message in before], plain, opens_reply=True)
        marked = replace(last, content=(TextPart(last.text + _CUT),))
        text = self._render(
            [self._message(message) for message in (*before, marked)], plain, opens_reply=False
        )
        place = text.rfind(_CUT.strip())
        if place < 0:
            raise InvalidRequest("The model's chat template leaves out the last message.", param="messages")
        return text[:place] if text.startswith(_CUT, place) else text[:place].rstrip()

    def _render(
        self, messages: Sequence[Mapping[str, Any]], plain: Callable[[str], str], opens_reply: bool
    ) -> str:
        try:
            return self._template.render(
                messages=_each_string(messages, plain),
                tools=None,
                add_generation_prompt=opens_reply,
                **self._variables,
            )
        except Exception as error:  # a template is a program, and all of Python's errors can come of it
            raise InvalidRequest(
                f"The model's chat template refuses these messages: {error}", param="messages"
            ) from error

    def _message(self, message: Message) -> dict[str, Any]:
        # "developer" is OpenAI's later name for the same role; templates know the old one.
        role = "system" if message.role == "developer" else message.role
        as_text = self._takes_strings and not (message.images or message.videos)
        content = message.text if as_text else [_part(part) for part in message.content]
        # Templates ask whether these are there at all, so what is not said is no key.
        said = {
            "name": message.name,
            "tool_call_id": message.tool_call_id,
            "tool_calls": [_tool_call(call) for call in message.tool_calls] or None,
        }
        return {"role": role, "content": content} | {
            key: value for key, value in said.items() if value is not None
        }

    def _reads_strings(self) -> bool:
        """Some templates of vision models only know content as a list of parts, and silently show nothing of
        a string; to all others a string is the most usual content there is."""
        probe = {"role": "user", "content": "probe"}
        try:
            return "probe" in self._render([probe], str, opens_reply=False)
        except InvalidRequest:
            return True

    def _opens(self) -> tuple[str, str]:
        question, reply = Message("user", (TextPart("?"),)), Message("assistant", (TextPart("probe"),))
        try:
            asked = self._render([self._message(question)], str, opens_reply=False)
            opened = self._render([self._message(question)], str, opens_reply=True)
            told = self._render([self._message(each) for each in (question, reply)], str, opens_reply=False)
        except InvalidRequest:
            return "", ""
        lead = told.removeprefix(opened).partition("probe")[0]
        if not opened.startswith(asked) or not told.startswith(opened) or lead.strip():
            return "", ""
        return opened.removeprefix(asked), lead

    def _writes_tool_calls(self) -> bool:
        probe = Message("assistant", (), tool_calls=(ToolCall("0", "probe", "{}"),))
        question = Message("user", (TextPart("?"),))
        try:
            return "probe" in self.render([question, probe])
        except InvalidRequest:
            return False


def _source(folder: Path) -> tuple[Path, str]:
    """The file that holds the template, newest custom first, and the template."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path, path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PackageError(f"{path}: expected text: {error}") from error
    for name in ("chat_template.json", "tokenizer_config.json"):
        source = read_json(folder / name).get("chat_template")
        if isinstance(source, str):
            return folder / name, source
    raise PackageError(
        f"{folder}: expected chat_template.jinja, or chat_template in chat_template.json or "
        "tokenizer_config.json"
    )


def _part(part: TextPart | ImagePart | VideoPart) -> dict[str, str]:
    match part:
        case ImagePart():
            return {"type": "image"}
        case VideoPart():
            return {"type": "video"}
        case TextPart():
            return {"type": "text", "text": part.text}


def _tool_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _arguments(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}


def _arguments(written: str) -> dict[str, Any] | str:
    """An object where it is one, as templates expect; else what is written."""
    try:
        value = json.loads(written)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        return written
    return value if isinstance(value, dict) else written


def _each_string(value: object, change: Callable[[str], str]) -> object:
    """The same JSON with every string in it changed, names included."""
    match value:
        case str():
            return change(value)
        case Mapping():
            return {change(str(key)): _each_string(each, change) for key, each in value.items()}
        case Sequence():
            return [_each_string(each, change) for each in value]
    return value


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
