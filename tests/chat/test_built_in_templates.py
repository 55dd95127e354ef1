"""The chat templates in the box, for models that are published without one that shows pictures.

What is expected is written out after the code that the templates name, which makes prompts without Jinja.
"""

import json
import logging
import re
from pathlib import Path

import pytest

from gateway.chat.content import ImagePart, Message, Role, TextPart, ToolCall
from gateway.chat.conversation import Tool
from gateway.chat.dialect import HERMES
from gateway.chat.template import TEMPLATES, ChatTemplate
from gateway.errors import InvalidRequest
from gateway.vision.registry import Registry

PICTURE = ImagePart("", "")
TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>"}


def user(*parts: str | ImagePart) -> Message:
    return Message("user", tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def said(role: Role, text: str) -> Message:
    return Message(role, (TextPart(text),))


QUESTION = (user(PICTURE, "what is it?"),)
TURNS = (
    said("system", "Be brief."),
    user(PICTURE, "what is it?"),
    said("assistant", "A cat."),
    user("and these?", PICTURE, PICTURE),
)

SEES = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that the "
    "user provides, and assist the user with a variety of tasks using natural language."
)
CHATS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions."
)

EXPECTED = {
    "internvl": (
        "<|im_start|>user\n<IMG_CONTEXT>\nwhat is it?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<IMG_CONTEXT>\nwhat is it?<|im_end|>\n"
        "<|im_start|>assistant\nA cat.<|im_end|>\n"
        "<|im_start|>user\nand these?<IMG_CONTEXT>\n<IMG_CONTEXT>\n<|im_end|>\n<|im_start|>assistant\n",
    ),
    "janus-pro": (
        f"<bos>{SEES}\n\n<|User|>: <image_placeholder>\nwhat is it?\n\n<|Assistant|>:",
        "<bos>Be brief.\n\n<|User|>: <image_placeholder>\nwhat is it?\n\n<|Assistant|>: A cat.<eos>"
        "<|User|>: and these?\n<image_placeholder>\n\n<image_placeholder>\n\n<|Assistant|>:",
    ),
    "fastvlm": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<image>\nwhat is it?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<image>\nwhat is it?<|im_end|>\n"
        "<|im_start|>assistant\nA cat.<|im_end|>\n"
        "<|im_start|>user\nand these?<image>\n<image>\n<|im_end|>\n<|im_start|>assistant\n",
    ),
    "mobilevlm-v2": (
        f"<bos>{CHATS} USER: <unk>\nwhat is it? ASSISTANT:",
        "<bos>Be brief. USER: <unk>\nwhat is it? ASSISTANT: A cat.<eos>"
        "USER: and these?<unk>\n<unk>\n ASSISTANT:",
    ),
    "minicpm-v-2.6": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<image_id>0</image_id>(<image>./</image>)\nwhat is it?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
        "<image_id>0</image_id>(<image>./</image>)\nwhat is it?<|im_end|>\n"
        "<|im_start|>assistant\nA cat.<|im_end|>\n<|im_start|>user\nand these?\n"
        "<image_id>1</image_id>(<image>./</image>)\n<image_id>2</image_id>(<image>./</image>)<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
}


def template(name: str) -> ChatTemplate:
    return ChatTemplate.built_in(name, TOKENS)


def test_entries_name_templates_that_are_there_and_write_their_marker() -> None:
    named = {
        entry.spec.template: entry.spec.marker for entry in Registry.load().entries if entry.spec.template
    }
    assert set(named) == {path.stem for path in TEMPLATES.iterdir()}
    for name, marker in named.items():
        assert ChatTemplate.built_in(name, TOKENS).marks(marker)


def chosen(folder: Path, caplog: pytest.LogCaptureFixture) -> tuple[str, str]:
    """How a question is written for a package with this tokenizer folder, and what is logged of it."""
    with caplog.at_level(logging.WARNING):
        found = ChatTemplate.for_pictures(folder, TOKENS, "<IMG_CONTEXT>", "internvl")
    return found.render(QUESTION), caplog.text


def test_a_template_that_shows_pictures_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    part = "{% for part in messages[0].content %}{{ '<IMG_CONTEXT>' if part.type == 'image' }}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(part)
    assert chosen(tmp_path, caplog) == ("<IMG_CONTEXT>", "")


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ("{{ messages[0].content + '!' }}", "its chat template writes no <IMG_CONTEXT> for a picture"),
        ("{{ messages[0].role }}", "its chat template writes no <IMG_CONTEXT> for a picture"),
        ("{% for %}", "tokenizer_config.json: line 1: "),
        (None, "expected chat_template.jinja, or chat_template in"),
    ],
)
def test_the_built_in_one_stands_in_for_a_template_that_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, own: str | None, reason: str
) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({} if own is None else {"chat_template": own}))
    asked, warning = chosen(tmp_path, caplog)
    assert asked == EXPECTED["internvl"][0]
    assert reason in warning
    assert "taking the built-in template internvl" in warning


def test_every_template_is_tested() -> None:
    assert {path.stem for path in TEMPLATES.glob("*.jinja")} == {*EXPECTED, "deepseek-ocr"}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_question_about_a_picture_is_that_of_the_model_s_own_code(name: str) -> None:
    assert template(name).render(QUESTION) == EXPECTED[name][0]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_conversation_is_that_of_the_model_s_own_code(name: str) -> None:
    assert template(name).render(TURNS) == EXPECTED[name][1]


@pytest.mark.parametrize("name", [*EXPECTED, "deepseek-ocr"])
def test_a_text_reads_the_same_as_a_string_and_as_a_part(name: str) -> None:
    picture_less = template(name).render((user("what is red?"),))
    assert picture_less.count("what is red?") == 1
    two_parts = template(name).render((user("what is red?", PICTURE),))
    assert two_parts.startswith(picture_less[: picture_less.index("what is red?") + len("what is red?")])


def test_deepseek_ocr_reads_the_picture_and_what_is_asked_of_it() -> None:
    assert template("deepseek-ocr").render((user(PICTURE, "Free OCR. "),)) == "<bos><image>\nFree OCR."


@pytest.mark.parametrize("messages", [TURNS, (said("system", "Be brief."), *QUESTION)])
def test_deepseek_ocr_refuses_conversations(messages: tuple[Message, ...]) -> None:
    with pytest.raises(InvalidRequest, match="one message of the role 'user' and nothing else"):
        template("deepseek-ocr").render(messages)


@pytest.mark.parametrize("name", EXPECTED)
def test_tools_calls_and_results_are_written_as_text(name: str) -> None:
    asked = user("hot?")
    call = Message("assistant", (TextPart("Well."),), tool_calls=(ToolCall("1", "look", '{"at": "it"}'),))
    result = Message("tool", (TextPart("41"),), tool_call_id="1")
    found = template(name).render((said("system", "Be brief."), asked, call, result), tools=(Tool("look"),))
    in_text = 'Well.\n<tool_call>\n{"name": "look", "arguments": {"at": "it"}}\n</tool_call>'
    written = (said("assistant", in_text), user("<tool_response>\n41\n</tool_response>"))
    system = re.search(r"# Tools\n.*</tool_response>\.", found, re.DOTALL)
    assert system
    assert '{"name": "look", "parameters"' in system[0]
    assert found == template(name).render((said("system", f"Be brief.\n\n{system[0]}"), asked, *written))
    assert template(name).takes_tools
    assert template(name).dialect == HERMES


def test_a_template_that_refuses_a_system_message_takes_no_tools() -> None:
    assert not template("deepseek-ocr").takes_tools


@pytest.mark.parametrize("name", EXPECTED)
def test_a_reply_can_be_continued(name: str) -> None:
    begun = template(name).render((*QUESTION, said("assistant", "A cat on")))
    assert begun == f"{template(name).render(QUESTION).rstrip(':')}{_between(name)}A cat on"


def _between(name: str) -> str:
    return ": " if name in ("janus-pro", "mobilevlm-v2") else ""
