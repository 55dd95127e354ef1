"""`axgate models --available`, and that the page about pulling tells nothing that is not so."""

import re
import shlex
from pathlib import Path

import pytest

from gateway.cli import _parser, main
from gateway.hub.catalogue import Catalogue
from gateway.vision.registry import FAMILIES
from tests.hub.published import FILES

PAGE = (Path(__file__).parents[2] / "docs" / "pull.md").read_text("utf-8")
CATALOGUE = Catalogue.load()


@pytest.fixture
def table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The cells of `axgate models --available`."""
    monkeypatch.setenv("COLUMNS", "250")
    assert main(("models", "--available")) == 0
    told = capsys.readouterr().out
    assert CATALOGUE.source in told
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in told.splitlines() if "│" in line]


def test_every_package_is_listed_with_whether_it_is_served(table: list[list[str]]) -> None:
    assert [(row[0], row[3]) for row in table] == [
        (name, entry.repository) for name, entry in CATALOGUE.entries.items()
    ]
    served = {row[0]: row[4] for row in table}
    assert served["qwen3-vl-2b"] == "yes"
    assert served["qwen3-4b"] == "yes"
    assert served["qwen3.5-0.8b"] == "no: its layers keep a state of linear attention beside K and V"


@pytest.mark.parametrize("name", CATALOGUE.entries)
def test_a_package_is_served_when_its_family_is(name: str) -> None:
    entry = CATALOGUE.entries[name]
    assert entry.obstacle([]) == (
        entry.refused or (entry.family and f"the vision family {entry.family} is not served yet")
    )
    assert (entry.obstacle([str(entry.family)]) is None) == (entry.refused is None)
    assert entry.family in (None, *FAMILIES)


def test_no_two_names_are_the_same_package() -> None:
    entries = CATALOGUE.entries.values()
    assert len({(entry.repository, entry.folder) for entry in entries}) == len(entries)
    assert {entry.repository for entry in entries} <= FILES.keys()
    assert all(re.fullmatch("[0-9a-f]{40}", entry.confirmed) for entry in entries)
    assert all(name == name.lower() for name in CATALOGUE.entries)


# --- docs/pull.md


def test_the_page_shows_commands_that_there_are() -> None:
    shown = [line for block in re.findall(r"```\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in shown if line.startswith("axgate ")]
    assert len(commands) == 5
    for command in commands:
        _parser().parse_args(command[1:])
    for command in commands:
        if command[1] == "pull" and "/" not in command[2]:
            assert CATALOGUE.find(command[2]).obstacle(FAMILIES) is None


def test_the_page_has_a_row_for_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(("pull", "--help"))
    options = re.findall(r"^  (--\w+)", capsys.readouterr().out, re.MULTILINE)
    assert re.findall(r"^\| `(--\w+)", PAGE, re.MULTILINE) == options


def test_the_page_tells_the_day_of_the_catalogue() -> None:
    (day,) = re.findall(r"\d{4}-\d{2}-\d{2}", CATALOGUE.source)
    assert day in PAGE
