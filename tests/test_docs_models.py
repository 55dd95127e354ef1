"""docs/models.md says what there is: every family, every entry, every refusal, every template."""

import re
from collections.abc import Sequence
from pathlib import Path

from gateway.chat.template import TEMPLATES
from gateway.vision.registry import FAMILIES, Registry

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "models.md").read_text("utf-8")
REGISTRY = Registry.load()


def table(first_columns: str) -> list[list[str]]:
    """The rows of the one table whose header begins with these columns."""
    (found,) = re.findall(
        rf"^\| {re.escape(first_columns)} \|.*\n\|[-|]+\|\n((?:\|.*\|\n)+)", PAGE, re.MULTILINE
    )
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in found.splitlines()]


def code(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def test_every_entry_has_its_row_in_order() -> None:
    expected = []
    for entry in REGISTRY.entries:
        encoder = entry.encoder(entry.spec.inputs[0])
        least, most = encoder.smallest.num_tokens, encoder.largest.num_tokens
        expected.append(
            [
                f"`{entry.name}`",
                f"`{entry.spec.family}`",
                code(entry.spec.prefixes),
                " or ".join(f"{each.dtype} {list(each.shape)}" for each in entry.spec.inputs),
                f"{least}" if least == most else f"{least} to {most}",
            ]
        )
    assert table("entry | family | layer files") == expected


def test_every_family_has_one_row_and_no_other() -> None:
    assert sorted(row[0] for row in table("family | models | what the host does")) == sorted(
        map("`{}`".format, FAMILIES)
    )


def test_every_refused_family_has_its_sentence() -> None:
    rows = [[row[0], *row[2:]] for row in table("family | models | layer files | why")]
    assert rows == [
        [f"`{refusal.family}`", code(refusal.prefixes), refusal.refused] for refusal in REGISTRY.refusals
    ]


def test_packages_are_said_to_find_entries_that_are_for_their_layer_files() -> None:
    entries = {entry.name: entry.spec.prefixes for entry in REGISTRY.entries}
    refused = {prefix for refusal in REGISTRY.refusals for prefix in refusal.prefixes}
    for package, prefixes, _, named, known in table("package | layer files | vision graph | entry"):
        for name in re.findall(r"`([^`]+)`", named):
            for prefix in re.findall(r"`([^`]+)`", prefixes):
                assert prefix in entries[name], package
        assert known.startswith("refused") == bool(refused & set(re.findall(r"`([^`]+)`", prefixes))), package


def test_whatever_else_looks_like_an_entry_is_one() -> None:
    names = {entry.name for entry in REGISTRY.entries}
    tables = table("package | layer files | vision graph | entry")
    assert {name for row in tables for cell in row[3:] for name in re.findall(r"`([^`]+)`", cell)} <= names


def test_every_prefix_is_said_to_be_seen_or_not() -> None:
    prefixes = {prefix for entry in REGISTRY.entries for prefix in entry.spec.prefixes}
    prefixes |= {prefix for refusal in REGISTRY.refusals for prefix in refusal.prefixes}
    (paragraph,) = re.findall(r"^The prefixes .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    told = re.findall(r"`([^`]+)`", paragraph.replace("`model_type`", ""))
    assert sorted(told) == sorted(prefixes)


def test_every_template_has_its_row() -> None:
    linked = re.findall(r"\[([^\]]+)\]\(\.\./gateway/chat/templates/([^)]+)\)", PAGE)
    files = sorted(path.name for path in TEMPLATES.iterdir())
    assert sorted(name for name, _ in linked) == sorted(file for _, file in linked) == files
