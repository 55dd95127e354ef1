import json
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from backends.base import PackageError
from gateway.chat.dialect import HERMES, INTERNLM, LLAMA, TAGGED, Dialect
from gateway.chat.template import ChatTemplate
from gateway.demo import CHECKPOINTS
from gateway.errors import InvalidRequest
from tests.chat import reference
from tests.chat.conversations import DEMO, GOLDEN, IMAGE, calls, message, result, user

# A template that writes tools, calls and results; then a bar.
KNOWING = (
    "{% for tool in tools or [] %}{{ tool.function.name }}{% endfor %}{% for m in messages %}{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ call.function.name }}{% endfor %}{% endfor %}|"
)
ARGUMENTS = "{{% for call in messages[0].tool_calls or [] %}}{{{{ {} }}}}{{% endfor %}}"
RENDERED = json.loads((GOLDEN / "templates.json").read_text())


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, {})


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, cases in RENDERED.items() for case in cases]
)
def test_the_text_is_that_of_transformers(name: str, case: str) -> None:
    rendering = ChatTemplate(reference.TEMPLATES[name].read_text(), reference.SPECIAL_TOKENS)
    found = rendering.render(reference.conversations(name)[case], tools=reference.tools(name, case))
    assert found == RENDERED[name][case]


@pytest.mark.parity
def test_the_golden_texts_are_what_transformers_writes_today() -> None:
    assert reference.rendered() == RENDERED


@pytest.mark.parametrize("nothing", ["", " \n"])
def test_an_empty_last_answer_is_begun_anew(nothing: str) -> None:
    demo = ChatTemplate.load(DEMO, {})
    assert demo.render([user("Hi"), message("assistant", nothing)]) == demo.render([user("Hi")])


def test_blanks_between_the_opening_of_a_reply_and_its_text_are_known() -> None:
    smolvlm = ChatTemplate.load(CHECKPOINTS["axgate-demo-smolvlm"], {})
    assert (smolvlm.opening, smolvlm.lead) == ("Assistant:", " ")
    demo = ChatTemplate.load(DEMO, {})
    assert (demo.opening, demo.lead) == ("<|im_start|>assistant\n", "")


def test_a_template_that_says_no_more_of_replies_has_no_such_blanks() -> None:
    told = "{% for m in messages %}{{ m.role[0] + ' ' + m.content }}{% endfor %}"
    thinks = told + "{{ '<think>' if add_generation_prompt }}"
    assert (template(thinks).opening, template(thinks).lead) == ("", "")


def test_developer_is_another_word_for_system() -> None:
    demo = ChatTemplate.load(DEMO, {})
    assert demo.render([message("developer", "x"), user("y")]) == demo.render(
        [message("system", "x"), user("y")]
    )


def test_a_template_that_only_reads_parts_gets_parts() -> None:
    parts = (
        "{% for m in messages %}{% for p in m.content %}({{ p.type }}:{{ p.text }}){% endfor %}{% endfor %}"
    )
    messages = [message("system", "s"), user("a", IMAGE, "b"), message("assistant", "c", "d")]
    assert template(parts).render(messages) == "(text:s)(text:a)(image:)(text:b)(text:cd"


@pytest.mark.parametrize(
    "written", ["m.role + '=' + m.content", "m.content if m.content is string else ''", "m.content"]
)
def test_a_template_that_reads_strings_gets_strings(written: str) -> None:
    strings = template("{% for m in messages %}{{ " + written + " }};{% endfor %}")
    assert strings.render([user("a", "b"), user("c")]).replace("user=", "") == "ab;c;"


def test_only_messages_with_pictures_are_lists_when_a_template_reads_both() -> None:
    both = (
        "{% for m in messages %}{{ m.content if m.content is string else m.content | length }};{% endfor %}"
    )
    assert template(both).render([message("system", "s", "t"), user("a", IMAGE)]) == "st;2;"


CALLED = "{{% for call in m.tool_calls or [] %}}{}{{% endfor %}}"


@pytest.mark.parametrize(
    ("written", "dialect"),
    [
        ('<tool_call>{"name": "{{ call.function.name }}", "parameters": {}}</tool_call>', HERMES),
        ("<tool_call>\n<function={{ call.function.name }}>\n</function></tool_call>", TAGGED),
        ("<|action_start|><|plugin|>{{ call.function | tojson }}<|action_end|>", INTERNLM),
        ('{"name": "{{ call.function.name }}", "parameters": {}}', LLAMA),
        ("{{ call.function.name }}()", HERMES),
    ],
)
def test_the_dialect_is_that_of_the_template(written: str, dialect: Dialect) -> None:
    tools = "{% for tool in tools or [] %}{{ tool.function }}{% endfor %}"
    told = "{% for m in messages %}{{ m.content }}" + CALLED.format(written) + "{% endfor %}"
    assert template(tools + told).dialect == dialect
    assert template(told).dialect == HERMES  # for it knows no tools, which are told of as text


def test_what_a_message_does_not_say_is_not_there() -> None:
    keys = template(KNOWING + "{% for m in messages %}{{ m.keys() | list | join(' ') }};{% endfor %}")
    thought = replace(message("assistant", "Well."), reasoning="Hm.")
    told = keys.render([user("Hi"), calls(("look", "{}")), result(0, "31 C", name="look"), thought, user("")])
    assert told.partition("|")[2] == (
        "role content;role content tool_calls;role content name tool_call_id;"
        "role content reasoning_content;role content;"
    )


@pytest.mark.parametrize(
    "written", ["", "{", "[1]", "5", '{"a": "\\ud800"}', '{"a": ' + "[" * 10**5, '{"a": ' + "9" * 10**4 + "}"]
)
def test_arguments_that_are_no_object_are_shown_as_they_are(written: str) -> None:
    shown = template(KNOWING + ARGUMENTS.format("call.function.arguments"))
    assert shown.render([calls(("look", written))]).partition("|")[2] == written


def test_nested_arguments_are_an_object_or_refused() -> None:
    shown = template(KNOWING + ARGUMENTS.format("call.function.arguments | tojson"))
    for depth in (10, 200, 400, 600, 800, 1000):
        written = '{"a": ' * depth + "1" + "}" * depth
        try:
            told = shown.render([calls(("look", written))]).partition("|")[2]
            assert told in (written, json.dumps(written))
        except InvalidRequest:
            assert depth > 200


@pytest.mark.parametrize("source", ["messages[0].content + '!'", "1 // 0", "range(10**9)", "'a'.encode('b')"])
def test_messages_that_a_template_cannot_put_together_are_refused(source: str) -> None:
    with pytest.raises(InvalidRequest, match="chat template refuses these messages"):
        template(f"{{{{ {source} }}}}").render([user("a", IMAGE)])


def test_a_refusal_keeps_the_words_of_the_template() -> None:
    refusing = template("{{ raise_exception('Roles must alternate.') }}")
    with pytest.raises(InvalidRequest) as error:
        refusing.render([user("Hi")])
    assert error.value.message == "The model's chat template refuses these messages: Roles must alternate."
    assert (error.value.status, error.value.param) == (400, "messages")


def test_a_template_cannot_reach_into_python() -> None:
    with pytest.raises(InvalidRequest, match="unsafe"):
        template("{{ messages.__class__.__mro__ }}").render([user("Hi")])


def test_a_template_cannot_change_the_messages() -> None:
    with pytest.raises(InvalidRequest, match="unsafe"):
        template("{{ messages.append(1) }}").render([user("Hi")])


def test_an_answer_that_the_template_leaves_out_cannot_be_continued() -> None:
    with pytest.raises(InvalidRequest) as error:
        template("{{ messages[0].content }}").render([user("Hi"), message("assistant", "Well")])
    assert error.value.message == "The model's chat template leaves out the last message."


def test_templates_know_the_day() -> None:
    before = datetime.now().strftime("%Y")
    assert template("{{ strftime_now('%Y') }}").render([user("Hi")]) in (
        before,
        datetime.now().strftime("%Y"),
    )


def test_json_keeps_html_and_scripts_as_they_are() -> None:
    assert template("{{ messages[0].content | tojson }}").render([user("<é>&'")]) == '"<é>&\'"'


def test_the_template_is_taken_from_the_newest_kind_of_file(tmp_path: Path) -> None:
    config = json.dumps({"chat_template": "config"})
    write(tmp_path, tokenizer_config__json=config)
    assert ChatTemplate.load(tmp_path, {}).render([user("Hi")]) == "config"
    write(tmp_path, chat_template__json=json.dumps({"chat_template": "processor"}))
    assert ChatTemplate.load(tmp_path, {}).render([user("Hi")]) == "processor"
    write(tmp_path, chat_template__jinja="own file")
    assert ChatTemplate.load(tmp_path, {}).render([user("Hi")]) == "own file"


def test_a_broken_template_is_named_with_its_line(tmp_path: Path) -> None:
    folder = write(tmp_path, chat_template__jinja="one\n{% if %}")
    with pytest.raises(PackageError, match=re.escape(f"{tmp_path / 'chat_template.jinja'}: line 2: ")):
        ChatTemplate.load(folder, {})


def test_a_template_that_cannot_be_parsed_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, chat_template__jinja=f"{{{{ {'(' * 5000}1{')' * 5000} }}}}")
    with pytest.raises(PackageError, match=re.escape(f"{folder / 'chat_template.jinja'}: nested too deep")):
        ChatTemplate.load(folder, {})


def test_a_template_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "chat_template.jinja"
    path.write_bytes(b"\xff")
    with pytest.raises(PackageError, match=re.escape(f"{path}: expected text: ")):
        ChatTemplate.load(tmp_path, {})


@pytest.mark.parametrize("config", ["{}", '{"chat_template": 5}'])
def test_a_missing_template_names_the_folder(tmp_path: Path, config: str) -> None:
    with pytest.raises(PackageError) as error:
        ChatTemplate.load(write(tmp_path, tokenizer_config__json=config), {})
    assert str(error.value) == (
        f"{tmp_path}: expected chat_template.jinja, or chat_template in chat_template.json or "
        "tokenizer_config.json"
    )
