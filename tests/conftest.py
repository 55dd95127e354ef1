"""Temporary files that go with the run; and the options with which the tests of the wall run on a real pyAXCL
(tests/axcl/test_rt.py)."""

import os
import tempfile
from pathlib import Path

import pytest

EMULATED = ("V3.10", "V2.25")


def pytest_configure(config: pytest.Config) -> None:
    """Packages are built once for many tests, some while tests are collected: a fixture would be too late."""
    scratch = tempfile.TemporaryDirectory(prefix="axgate-tests-")
    config.add_cleanup(scratch.cleanup)
    tempfile.tempdir = os.environ["TMPDIR"] = scratch.name


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("axgate")
    group.addoption(
        "--axcl",
        choices=("emulated", "real"),
        default="emulated",
        help="what the tests of the wall call: the emulated card in both versions of its surface, or the "
        "pyAXCL that is installed, with the libraries in AXCL_LIB_PATH",
    )
    group.addoption(
        "--axcl-model",
        type=Path,
        metavar="FILE",
        help="with --axcl=real: an .axmodel for the card; without it, the tests that run one are left out",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `axcl` runs on each that was asked for (tests/axcl/conftest.py)."""
    if "axcl" in metafunc.fixturenames:
        real = metafunc.config.getoption("--axcl") == "real"
        metafunc.parametrize("axcl", ["real"] if real else EMULATED, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--axcl") == "emulated" or config.getoption("--axcl-model"):
        return
    left_out = [item for item in items if "model_file" in getattr(item, "fixturenames", ())]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
