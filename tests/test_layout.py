"""The house rules of docs/architecture.md, checked."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ["api", "chat", "engine", "vision"]  # imports only ever point right, and from any of them to backends
CELLAR = {"gateway", "gateway.errors", "gateway.logs"}  # anyone may import them
BUILDERS = {"gateway/engine/worker.py"}  # like the files at the top, they put parts together
FILES = sorted(
    path.relative_to(ROOT) for room in ("gateway", "backends") for path in ROOT.glob(f"{room}/**/*.py")
)


def imports(file: Path) -> Iterator[str]:
    """Every module a file names in an import, wherever it stands."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield str(node.module)


def room(module: str) -> int | None:
    """The place of a module's room, counted from the left; None for what is not in a room of the gateway."""
    parts = module.split(".")
    return ROOMS.index(parts[1]) if parts[0] == "gateway" and len(parts) > 1 and parts[1] in ROOMS else None


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_fall(file: Path) -> None:
    module = ".".join(file.with_suffix("").parts)
    ours = room(module)
    for name in imports(file):
        if file.parts[0] == "backends":
            assert not name.startswith("gateway"), f"{file} imports {name}"
        elif ours is not None and name.startswith("gateway") and name not in CELLAR:
            theirs = room(name)
            assert theirs is not None, f"{file} imports {name}, which builds"
            assert theirs >= ours, f"{file} imports {name}, which is to its left"


def test_the_hub_is_known_to_the_command_line_alone() -> None:
    """It knows neither models nor sessions, only packages."""
    for file in FILES:
        for name in imports(file):
            if file.is_relative_to("gateway/hub"):
                assert not name.startswith("gateway") or name.startswith("gateway.hub") or name in CELLAR
            elif name.startswith("gateway.hub"):
                assert file == Path("gateway/cli.py"), f"{file} imports {name}"


@pytest.mark.parametrize(
    ("sdk", "allowed"), [("axcl", "backends/axcl/rt.py"), ("onnxruntime", "backends/emulator/")]
)
def test_a_vendor_sdk_is_imported_in_one_place(sdk: str, allowed: str) -> None:
    found = {str(file) for file in FILES if any(name.split(".")[0] == sdk for name in imports(file))}
    assert found
    assert all(file.startswith(allowed) for file in found)


@pytest.mark.parametrize(
    ("word", "allowed"),
    [
        ("os.environ", set()),
        ("threading.Thread", {"gateway/engine/process.py"}),
    ],
)
def test_some_things_stand_in_one_file(word: str, allowed: set[str]) -> None:
    assert {str(file) for file in FILES if word in (ROOT / file).read_text()} == allowed


def test_importing_everything_touches_no_hardware() -> None:
    """No SDK, and none of what serves export and training only, is loaded by importing the gateway."""
    modules = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in FILES]
    modules = [module for module in modules if not module.endswith("__main__")]
    code = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print(*{'av', 'axcl', 'onnxruntime', 'torch', 'transformers'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ""


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_file_has_one_noun(file: Path) -> None:
    assert file.stem not in {"utils", "util", "helpers", "common", "misc", "manager", "types"}
    assert len((ROOT / file).read_text().splitlines()) <= 300
