"""A package that stands where pyAXCL would: the emulated card under the name `axcl`, and as talkative."""

import os
from collections.abc import Mapping
from pathlib import Path

INIT = """
import ctypes, os
from backends.emulator import Emulator

_card = Emulator(devices=(3, 129))
rt, finalize = _card.rt, _card.finalize
C = ctypes.CDLL(None)

def init(config):
    print("json file: not found")  # as pyAXCL
    os.write(1, b"[I][axclInit]\\n")  # as spdlog
    C.puts(b"buffered by C")
    assert config.startswith("{"), config
    return _card.init(config)
"""


def fake_pyaxcl(folder: Path) -> Mapping[str, str]:
    """Written to `folder`; the environment of a process that imports it."""
    (folder / "axcl").mkdir()
    (folder / "axcl" / "__init__.py").write_text(INIT)
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), *os.environ.get("PYTHONPATH", "").split()])
    }
