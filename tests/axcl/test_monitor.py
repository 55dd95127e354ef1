"""How a card is doing, from whoever can tell; what nobody can tell is unknown."""

import asyncio
import subprocess
from pathlib import Path
from time import monotonic

import pytest

from backends.axcl import monitor
from backends.axcl.monitor import UNKNOWN, Monitor, Vitals, read_table, told_by_library, told_by_tool
from backends.axcl.rt import Runtime
from backends.emulator import Emulator

TABLE = """
+------------------------------------------------------------------------------------------------+
| AXCL-SMI  V3.10.2_20251215                                  Driver  V3.10.2_20251215           |
+-----------------------------------------+--------------+---------------------------------------+
| Card  Name                     Firmware | Bus-Id       |                          Memory-Usage |
| Fan   Temp                Pwr:Usage/Cap | CPU      NPU |                             CMM-Usage |
|=========================================+==============+=======================================|
|    0  AX650N                    V3.10.2 | 0000:03:00.0 |                149 MiB /      945 MiB |
|   --   38C                      -- / -- | 1%        0% |                 18 MiB /     7040 MiB |
+-----------------------------------------+--------------+---------------------------------------+
|    1  AX650N                     V3.4.0 | 0000:81:00.0 |                153 MiB /      945 MiB |
[11-08 20:36:34:240][E][axcl_smi][main][ 117]: a line of the log
|   --   61C                      -- / -- | 7%       93% |               4018 MiB /     7040 MiB |
"""


def test_the_table_is_read_for_the_card_that_is_meant() -> None:
    assert read_table(TABLE, 3) == Vitals(38.0, 7040 << 20, 7022 << 20, 0.01, 0.0, "V3.10.2")
    assert read_table(TABLE, 129) == Vitals(61.0, 7040 << 20, 3022 << 20, 0.07, 0.93, "V3.4.0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "axcl-smi is already running, please try later.",
        TABLE.split("|    0")[0],
        TABLE.replace("38C", "--C"),
        TABLE.replace("0000:03", "0000:04"),
    ],
)
def test_what_is_not_in_the_table_is_unknown(text: str) -> None:
    assert read_table(text, 3) == UNKNOWN


def tool(folder: Path, script: str) -> Path:
    path = folder / "axcl-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_tool_is_asked(tmp_path: Path) -> None:
    (tmp_path / "table").write_text(TABLE)
    assert told_by_tool(3, tool(tmp_path, f"cat {tmp_path}/table")).temperature_c == 38.0


def test_a_tool_that_answers_somebody_else_is_waited_for(tmp_path: Path) -> None:
    """Only one of them runs at a time: the gateway's own monitor may be it."""
    (tmp_path / "table").write_text(TABLE)
    busy = "axcl-smi is already running, please try later."
    asked = tool(tmp_path, f"cd {tmp_path}; ls busy 2>/dev/null && rm busy && echo {busy} || cat table")
    (tmp_path / "busy").touch()
    assert told_by_tool(3, asked).temperature_c == 38.0
    assert told_by_tool(3, tool(tmp_path, f"echo {busy}"), timeout_s=0.2) == UNKNOWN


def test_a_tool_that_hangs_is_ended_and_one_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    started_s = monotonic()
    assert told_by_tool(3, tool(tmp_path, "exec sleep 60"), timeout_s=0.2) == UNKNOWN
    assert monotonic() - started_s < 30
    assert told_by_tool(3, tmp_path / "nowhere") == UNKNOWN


def test_a_tool_that_cannot_be_ended_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that sleeps in the driver of a card that died."""
    left: list[subprocess.Popen[str]] = []
    monkeypatch.setattr(subprocess.Popen, "kill", lambda process: left.append(process))
    monkeypatch.setattr(monitor, "ENDING_S", 0.2)
    started_s = monotonic()
    assert told_by_tool(3, tool(tmp_path, "exec sleep 60"), timeout_s=0.2) == UNKNOWN
    assert monotonic() - started_s < 30
    (process,) = left
    process.terminate()
    process.wait()


def test_the_library_is_asked() -> None:
    runtime = Runtime(Emulator(cmm_bytes=100 << 20))
    buffer = runtime.malloc(10 << 20)
    found = told_by_library(runtime.properties())
    assert found == Vitals(45.0, 100 << 20, 90 << 20, 0.0, 0.0, "V3.10.2 emulated")
    runtime.free(buffer)  # the binding has survived
    properties = dict(runtime.properties() or {})
    runtime.close()
    assert told_by_library(None) == UNKNOWN
    # What a command on the card did not tell is 0.
    silent = told_by_library(properties | {"total_cmm_size": 0, "free_cmm_size": 0})
    assert (silent.cmm_bytes, silent.cmm_free_bytes) == (None, None)


class Asked:
    """Answers that are given one after the other; the last one is an error."""

    def __init__(self, *answers: Vitals) -> None:
        self.answers = list(answers)
        self.num_times = 0

    def __call__(self) -> Vitals:
        self.num_times += 1
        return self.answers.pop(0)


WARM, HOT = Vitals(temperature_c=40.0), Vitals(temperature_c=80.0)


async def heard(monitor: Monitor, *, idle: bool = True) -> Vitals:
    """What a caller gets after the one that had it asked for."""
    monitor.vitals(idle=idle)
    await monitor.close()
    return monitor.vitals(idle=False)


def test_a_card_is_asked_rarely() -> None:
    async def run() -> None:
        ask = Asked(WARM, HOT)
        monitor = Monitor(ask, period_s=60)
        assert (monitor.vitals(idle=True), monitor.age_s) == (UNKNOWN, None)  # nobody waits for the first
        for _ in range(5):
            assert await heard(monitor) == WARM
        assert ask.num_times == 1
        assert monitor.age_s is not None
        assert monitor.age_s < 60

    asyncio.run(run())


def test_a_card_that_is_busy_is_not_asked() -> None:
    async def run() -> None:
        ask = Asked(WARM)
        monitor = Monitor(ask, period_s=0)
        assert await heard(monitor, idle=False) == UNKNOWN
        assert ask.num_times == 0

    asyncio.run(run())


def test_what_is_not_told_any_more_is_unknown_again() -> None:
    async def run() -> None:
        monitor = Monitor(Asked(WARM, HOT), period_s=0)
        assert [await heard(monitor) for _ in range(3)] == [WARM, HOT, UNKNOWN]

    asyncio.run(run())
