"""What is missing is told in one sentence, with what helps."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.axcl import installed
from backends.axcl.rt import Runtime, import_axcl
from backends.base import DeviceError
from backends.emulator import Emulator


@pytest.fixture
def binding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that is imported as `axcl`."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "axcl.py"
    sys.modules.pop("axcl", None)


MISSING = "raise OSError('/usr/lib/axcl/libaxcl_rt.so: cannot open shared object file: No such file')"


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (MISSING, r"\(/usr/lib/axcl/libaxcl_rt.so: cannot .*\): install axclhost, or set AXCL_LIB_PATH"),
        ("import sys; sys.exit(1)", "needs a Python of 64 bits"),
        ("import axcl_that_is_half", r"\(ModuleNotFoundError: No module .*\): install its wheel again"),
        ("def f(:", r"\(SyntaxError: .*\): install its wheel again"),
        ("raise RuntimeError('no')", r"\(RuntimeError: no\): install its wheel again"),
        ("version = 1", r"axcl\.py hides pyAXCL: move it away"),
    ],
)
def test_why_pyaxcl_cannot_be_imported(
    binding: Path, monkeypatch: pytest.MonkeyPatch, program: str, told: str
) -> None:
    monkeypatch.setenv("AXCL_LIB_PATH", str(binding.with_name("nowhere")))
    binding.write_text(program)
    with pytest.raises(DeviceError, match=f"import axcl: .*{told}") as error:
        import_axcl()
    assert "0xFFFFFFFF" not in str(error.value)


def test_libraries_that_are_there_in_part_are_of_another_version(
    binding: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AXCL_LIB_PATH", str(binding.parent))
    binding.write_text(MISSING)
    with pytest.raises(DeviceError, match="install pyAXCL and axclhost of one version"):
        import_axcl()


def test_pyaxcl_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "axcl", None)
    with pytest.raises(DeviceError, match="install the wheel that matches the axclhost package"):
        import_axcl()


def test_a_folder_that_is_named_axcl_is_not_pyaxcl(binding: Path) -> None:
    binding.with_suffix("").mkdir()
    with pytest.raises(DeviceError, match="a folder named axcl hides pyAXCL"):
        import_axcl()


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found = [tmp_path / name for name in ("axcl_host", "msg_userdev")]
    for node in found:
        node.touch(0o666)
    monkeypatch.setattr(installed, "NODES", tuple(map(str, found)))
    return found


def opening_fails() -> str:
    with pytest.raises(DeviceError) as error:
        Runtime(Emulator(devices=()))
    return str(error.value)


def test_a_driver_that_is_not_loaded(nodes: list[Path]) -> None:
    nodes[0].unlink()
    told = opening_fails()
    assert told.startswith(f"init: AXCL_ERR_DEVICE_OPEN: the driver is not loaded, {nodes[0]} is not there")
    assert "modprobe axcl_host" in told
    assert told.endswith("(0x8030010B)")


def test_a_device_that_this_user_may_not_open(nodes: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access

    def denied(path: str, mode: int, **how: bool) -> bool:
        return path != str(nodes[1]) and access(path, mode, **how)

    monkeypatch.setattr(os, "access", denied)
    told = opening_fails()
    assert told.startswith(
        f"init: AXCL_ERR_DEVICE_OPEN: this user may not open {nodes[1]}: reinstall axclhost"
    )
    assert told.endswith("(0x8030010B)")


@pytest.mark.usefixtures("nodes")
def test_a_driver_that_cannot_be_opened_though_its_nodes_can() -> None:
    assert "the driver is there and cannot be opened" in opening_fails()
