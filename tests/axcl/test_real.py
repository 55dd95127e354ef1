"""`pytest --axcl=real`: the tests of the wall on what is installed as pyAXCL."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.axcl.binding import fake_pyaxcl
from tests.emulator.card import save_model

ROOT = Path(__file__).parents[2]


def run(*options: str, environment: Mapping[str, str]) -> tuple[int, str]:
    """The wall's tests in a process of their own: exit status and output."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/axcl/test_rt.py"]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def number(told: str, what: str) -> int:
    found = re.search(rf"(\d+) {what}", told)
    return int(found[1]) if found else 0


def test_the_wall_holds_on_whatever_is_installed_as_pyaxcl(tmp_path: Path) -> None:
    environment = fake_pyaxcl(tmp_path)
    model = save_model(tmp_path / "layer.axmodel")
    status, told = run("--axcl=real", f"--axcl-model={model}", environment=environment)
    assert (status, number(told, "failed"), number(told, "deselected")) == (0, 0, 0), told
    with_model = number(told, "passed")
    status, told = run("--axcl=real", environment=environment)
    assert (status, number(told, "deselected")) == (0, 2), told
    assert number(told, "passed") == with_model - 2 > 20


def test_without_pyaxcl_every_test_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "axcl.py").write_text("raise ModuleNotFoundError('there is none', name='axcl')")
    status, told = run("--axcl=real", "-x", environment=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert status == 1
    assert "--axcl=real: import axcl: pyAXCL cannot be imported (there is none): install the wheel" in told
