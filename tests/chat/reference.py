"""The same texts from transformers, for the golden file and for the test that compares with it directly."""

import json
from collections.abc import Sequence
from typing import Any

from gateway.chat.content import ImagePart, Message, TextPart, VideoPart
from tests.chat.conversations import CALLS, CONVERSATIONS, DEMO, GOLDEN, PICTURES, VIDEOS

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TEMPLATES = {
    "demo": DEMO / "chat_template.jinja",
    "chatml_tools": GOLDEN / "chatml_tools.jinja",
    "text_only": GOLDEN / "text_only.jinja",
}

KINDS: dict[type[object], str] = {ImagePart: "image", VideoPart: "video"}


def conversations(template: str) -> dict[str, Sequence[Message]]:
    return CONVERSATIONS if template == "text_only" else CONVERSATIONS | PICTURES | VIDEOS | CALLS


def rendered() -> dict[str, dict[str, str]]:
    """apply_chat_template's text by template and conversation; a last assistant message is continued."""
    return {
        template: {
            name: rendered_one(template, messages) for name, messages in conversations(template).items()
        }
        for template in TEMPLATES
    }


def rendered_one(template: str, messages: Sequence[Message]) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    continued = messages[-1].role == "assistant" and not messages[-1].tool_calls
    texts, _ = render_jinja_template(
        [[_plain(message, as_text=template == "text_only") for message in messages]],
        chat_template=TEMPLATES[template].read_text(),
        add_generation_prompt=not continued,
        continue_final_message=continued,
        **SPECIAL_TOKENS,
    )
    text: str = texts[0]
    return text


def _plain(message: Message, as_text: bool) -> dict[str, Any]:
    if as_text:
        return {"role": message.role, "content": message.text}
    plain: dict[str, Any] = {
        "role": message.role,
        "content": [
            {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": KINDS[type(part)]}
            for part in message.content
        ],
    }
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
