"""A conversation and what is asked of its next reply, without JSON around it; and that, ready to run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.chat.content import Message
from gateway.engine.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Tool:
    """A function of the client's that the model may call. `parameters` is a JSON schema of an object; None
    where it takes none. `strict` asks that calls keep to it whatever the model makes of it."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolUse:
    """Which of the tools that the model is told of it may call; `required`, that it calls one at least;
    `parallel`, that it may call several."""

    allowed: tuple[str, ...]
    required: bool = False
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class JsonReply:
    """The reply is to be JSON: an object, or what `schema` says; not what goes on with a message that is
    begun. `param` is the schema's path in the request and `name` what the client calls it, for errors."""

    schema: Mapping[str, Any] | None
    param: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """`tools` are those the model is told of. `variables` are for the model's chat template, such as
    enable_thinking."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    use: ToolUse = ToolUse(())
    json: JsonReply | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """A conversation, ready for the model to reply.

    `opens`: the prompt ends where a new message of the assistant's begins, not inside of one. `thinks`: the
    prompt ends inside of reasoning, with which the reply begins. `tools` are those that the model was told
    of, and `use` is theirs, None where there are none. `grammar` is what the reply must follow
    (SamplingParams.grammar), or None. `tools_left_out`: they did not fit, so the model was told of none.
    """

    prompt: Prompt
    opens: bool
    thinks: bool = False
    tools: tuple[Tool, ...] = ()
    use: ToolUse | None = None
    grammar: str | None = None
    tools_left_out: bool = False
