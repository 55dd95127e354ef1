"""What no test of behaviour could show of the sources: who calls pyAXCL, and with what."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = [path for room in ("backends", "gateway") for path in sorted((ROOT / room).rglob("*.py"))]
RT = ROOT / "backends/axcl/rt.py"


def names(path: Path) -> set[str]:
    """Every attribute and every name in it."""
    tree = ast.parse(path.read_text())
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name)
    }


def test_the_wall_calls_nothing_that_is_broken() -> None:
    """ByName acts on index 0, app_log takes its text for a format, and there is no use in what is
    asynchronous, cached, or on the host."""
    text = RT.read_text()
    code = text[text.index("import json") :]
    for word in ("by_name", "app_log", "utilization", "_async", "malloc_host", "cached", "AXCL_DEF"):
        assert word not in code


def test_nobody_else_calls_pyaxcl() -> None:
    rest = [path for path in SOURCES if path != RT and path.parent.name != "emulator"]
    for path in rest:
        found = {name for name in names(path) if re.match(r"engine_(get|set|create|destroy|load|exec)", name)}
        assert found == set(), path


def test_only_who_opens_a_card_knows_the_emulated_one() -> None:
    for path in (ROOT / "backends/axcl").glob("*.py"):
        if path.name != "backend.py":
            assert "backends.emulator" not in path.read_text(), path


def test_nothing_calls_the_library_when_nobody_asks_for_it() -> None:
    """At the end of a program, or of an object, the library may be gone."""
    for path in (ROOT / "backends/axcl").glob("*.py"):
        assert not re.search(r"__del__|atexit|weakref", path.read_text()), path


def test_nobody_forks() -> None:
    """A child would inherit what the driver gave to its parent; programs that are started instead do not."""
    forking = (
        "os.fork",
        "forkpty",
        "preexec_fn",
        "close_fds",
        "ProcessPool",
        "multiprocessing.Process",
        "set_start_method",
        "get_context(",
    )
    for path in SOURCES:
        text = path.read_text()
        assert [word for word in forking if word in text] == [], path
        for imported in re.findall(r"from multiprocessing(?:\.\w+)? import (.*)", text):
            assert set(imported.split(", ")) <= {"Pipe", "Connection", "wait"}, path
