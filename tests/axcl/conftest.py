"""What the tests of the wall call, and a model for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.axcl.rt import Runtime, import_axcl
from backends.base import DeviceError
from backends.emulator import Emulator, OldEmulator
from tests.emulator.card import save_model


@pytest.fixture
def axcl(request: pytest.FixtureRequest) -> Any:
    """pyAXCL, or emulated cards that nobody has touched."""
    match request.param:
        case "V3.10":
            return Emulator(devices=(3, 129))
        case "V2.25":
            return OldEmulator(devices=(3, 129))
    return request.getfixturevalue("real_axcl")


@pytest.fixture(scope="session")
def real_axcl() -> Any:
    """The pyAXCL that is installed, once it was seen to open a card."""
    try:
        axcl = import_axcl()
        Runtime(axcl).close()
        return axcl
    except DeviceError as reason:
        told = str(reason)
    return pytest.fail(f"--axcl=real: {told}", pytrace=False)


@pytest.fixture
def runtime(axcl: Any) -> Iterator[Runtime]:
    opened = Runtime(axcl)
    yield opened
    opened.close()


@pytest.fixture
def model_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    given: Path | None = request.config.getoption("--axcl-model")
    return given or save_model(tmp_path / "layer.axmodel")
