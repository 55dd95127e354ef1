"""The same texts from transformers, for the golden file and for the test that compares with it directly."""

import json
from collections.abc import Sequence
from typing import Any

from gateway.chat.content import ImagePart, Message, TextPart, VideoPart
from gateway.chat.conversation import Tool
from tests.chat.conversations import CALLS, CONVERSATIONS, DEMO, GOLDEN, HERE, PICTURES, VIDEOS, WEATHER

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TEMPLATES = {
    "demo": DEMO / "chat_template.jinja",
    "chatml_tools": GOLDEN / "chatml_tools.jinja",
    "hermes_thinking": GOLDEN / "hermes_thinking.jinja",
    "llama_tools": GOLDEN / "llama_tools.jinja",
    "text_only": GOLDEN / "text_only.jinja",
}
KNOWING = ("chatml_tools", "hermes_thinking", "llama_tools")
"""Those that write tools. Of the others it is not transformers that does."""
TOOLS = (WEATHER, HERE)

KINDS: dict[type[object], str] = {ImagePart: "image", VideoPart: "video"}


def conversations(template: str) -> dict[str, Sequence[Message]]:
    if template in ("text_only", "hermes_thinking", "llama_tools"):
        found = CONVERSATIONS
    else:
        found = CONVERSATIONS | PICTURES | VIDEOS
    if template == "llama_tools":  # it refuses several calls at once
        return found | {
            name: CALLS[name] for name in CALLS if "tools" not in name and "no object" not in name
        }
    return found | CALLS if template in KNOWING else found


def tools(template: str, name: str) -> tuple[Tool, ...]:
    """That the model is told of in this conversation."""
    return TOOLS if template in KNOWING and name in CALLS else ()


def rendered() -> dict[str, dict[str, str]]:
    """apply_chat_template's text by template and conversation; a last assistant message is continued."""
    return {
        template: {
            name: rendered_one(template, messages, tools(template, name))
            for name, messages in conversations(template).items()
        }
        for template in TEMPLATES
    }


def rendered_one(
    template: str, messages: Sequence[Message], told: Sequence[Tool] = (), **variables: object
) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    continued = messages[-1].role == "assistant" and not messages[-1].tool_calls
    texts, _ = render_jinja_template(
        [[_plain(message, as_text=template not in ("demo", "chatml_tools")) for message in messages]],
        tools=[_tool(tool) for tool in told] or None,
        chat_template=TEMPLATES[template].read_text(),
        add_generation_prompt=not continued,
        continue_final_message=continued,
        **SPECIAL_TOKENS,
        **variables,
    )
    text: str = texts[0]
    return text


def _plain(message: Message, as_text: bool) -> dict[str, Any]:
    parts = [
        {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": KINDS[type(part)]}
        for part in message.content
    ]
    plain: dict[str, Any] = {"role": message.role, "content": message.text if as_text else parts}
    if message.reasoning:
        plain["reasoning_content"] = message.reasoning
    if message.name:
        plain["name"] = message.name
    if message.tool_call_id:
        plain["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        plain["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
            for call in message.tool_calls
            for arguments in [json.loads(call.arguments) if call.arguments.endswith("}") else call.arguments]
        ]
    return plain


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}
