"""How a card is doing: temperature, memory and load, from the library or from `axcl-smi`.

What cannot be told is None, and says nothing about the card: `axcl-smi` answers one caller at a time, ends
with status 0 whatever happened, and old libraries have no call for it.
"""

import asyncio
import re
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from backends.axcl.installed import TOOLS

TOOL = Path(TOOLS) / "axcl-smi"
TIMEOUT_S = 10.0
ENDING_S = 2.0
PERIOD_S = 30.0
ANSWERING, AGAIN_S = "axcl-smi is already running", 0.5

# Two lines of the table for each card (doc_guide_axcl_smi.md):
# |    0  AX650N   V3.4.0 | 0000:03:00.0 | 153 MiB / 945 MiB |
# |   --   38C  -- / -- | 1%  0% | 18 MiB / 7040 MiB |
_CARD = re.compile(r"\| \d+ AX\w+ (\S+) \| [0-9a-f]{4}:([0-9a-f]{2}):[0-9a-f]{2}\.[0-9a-f] \|")
_STATE = re.compile(r"\| \S+ (\d+)C .*?\| (\d+)% (\d+)% \| (\d+) MiB / (\d+) MiB \|")


@dataclass(frozen=True, slots=True)
class Vitals:
    """Loads are shares of 1. Each is None where nobody could tell."""

    temperature_c: float | None = None
    cmm_bytes: int | None = None
    cmm_free_bytes: int | None = None
    cpu_load: float | None = None
    npu_load: float | None = None
    firmware: str | None = None


UNKNOWN = Vitals()


def told_by_library(properties: Mapping[str, Any] | None) -> Vitals:
    """Of `Runtime.properties`: milli-degrees, KiB, and percent × 100 (axcl_rt_device.h of V3.10.2)."""
    if properties is None:
        return UNKNOWN
    return Vitals(
        temperature_c=properties["temperature"] / 1000,
        cmm_bytes=properties["total_cmm_size"] << 10 or None,
        cmm_free_bytes=free_by_library(properties),
        cpu_load=properties["cpu_loading"] / 10_000,
        npu_load=properties["npu_loading"] / 10_000,
        firmware=bytes(properties["sw_version"]).split(b"\0")[0].decode(errors="replace") or None,
    )


def free_by_library(properties: Mapping[str, Any] | None) -> int | None:
    """Bytes of CMM; None also where the command on the card that counts it did not answer: then all is 0."""
    if properties is None or not properties["total_cmm_size"]:
        return None
    return int(properties["free_cmm_size"]) << 10


def told_by_tool(bus: int, tool: Path = TOOL, timeout_s: float = TIMEOUT_S) -> Vitals:
    """Of the card on PCI bus `bus` (its device id). Blocks as `run_tool`."""
    return read_table(run_tool(tool, timeout_s), bus)


def run_tool(tool: Path = TOOL, timeout_s: float = TIMEOUT_S) -> str:
    """What `axcl-smi` prints, empty where it cannot be had: a process of its own, which cannot disturb the
    bindings of this one. It is waited for while it answers somebody else. Blocks for up to `timeout_s` and
    ENDING_S, so for another thread."""
    deadline_s = monotonic() + timeout_s
    while (text := _printed(tool, deadline_s - monotonic())) and ANSWERING in text:
        if monotonic() + AGAIN_S > deadline_s:
            return ""
        sleep(AGAIN_S)
    return text


def _printed(tool: Path, timeout_s: float) -> str:
    try:
        process = subprocess.Popen(
            [tool],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except OSError:
        return ""
    assert process.stdout
    with process.stdout:
        try:
            return process.communicate(timeout=timeout_s)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            # One that sleeps in the driver of a card that died cannot be ended by anybody; it is left behind.
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_S)
            return ""


def read_table(text: str, bus: int) -> Vitals:
    """The table of `axcl-smi`, between whatever its library logs into it."""
    firmware: str | None = None
    for line in (" ".join(line.split()) for line in text.splitlines()):
        if card := _CARD.search(line):
            firmware = card[1] if int(card[2], 16) == bus else None
        elif firmware is not None and (state := _STATE.search(line)):
            temperature, cpu, npu, used, total = map(int, state.groups())
            free_bytes = max(0, total - used) << 20
            return Vitals(float(temperature), total << 20, free_bytes, cpu / 100, npu / 100, firmware)
    return UNKNOWN


class Monitor:
    """The vitals as they were last heard of. `ask` is called in a thread of the event loop's, at most every
    `period_s` and only while the card has nothing better to do; what it raises means unknown."""

    def __init__(self, ask: Callable[[], Vitals], period_s: float = PERIOD_S) -> None:
        self._ask = ask
        self._period_s = period_s
        self._vitals = UNKNOWN
        self._heard_s: float | None = None
        self._asking: asyncio.Task[None] | None = None

    def vitals(self, *, idle: bool) -> Vitals:
        """Never waits: where what is known is old and the card is idle, it is asked, and the next caller gets
        the answer. In the event loop."""
        if idle and self._asking is None and (self.age_s is None or self.age_s >= self._period_s):
            self._asking = asyncio.create_task(self._hear())
        return self._vitals

    @property
    def age_s(self) -> float | None:
        """How long ago the card was heard of; None where it was not asked yet."""
        return None if self._heard_s is None else monotonic() - self._heard_s

    async def close(self) -> None:
        """Wait for an answer that is under way."""
        if self._asking is not None:
            await self._asking

    async def _hear(self) -> None:
        try:
            self._vitals = await asyncio.to_thread(self._ask)
        except Exception:  # whatever it is, it says nothing about the card
            self._vitals = UNKNOWN
        finally:
            self._heard_s, self._asking = monotonic(), None
