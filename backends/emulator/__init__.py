"""A software AX650N behind pyAXCL's own call surface.

`Emulator` stands where the `axcl` module would: `init`, `finalize`, `set_log_level` and `rt`, with the names,
arguments, tuples and codes of pyAXCL V3.10.2; `OldEmulator` has those of V2.25.0, which V2.26 shares. What
the card's library gets wrong is wrong here too.

It computes for real: layer graphs run by onnxruntime on emulated device memory, in place. Absent are streams,
asynchronous execution, dynamic batches, cached and host allocations: decoding has no use for them.
"""

from collections.abc import Iterable
from typing import Generic, TypeVar

from backends.emulator.clock import Clock, ClockKind, RecordedClock, open_clock
from backends.emulator.counters import Counters
from backends.emulator.device_calls import DeviceCalls
from backends.emulator.engine_calls import EngineCalls
from backends.emulator.faults import Faults
from backends.emulator.io_calls import IoCalls
from backends.emulator.memory_calls import MemoryCalls
from backends.emulator.process import Process
from backends.emulator.recorded import Recorded, recorded_models
from backends.emulator.refused import DEVICE_OPEN, Refused
from backends.emulator.surface import Calls, answers, ret_only, unsigned
from backends.emulator.version_calls import NewCalls, OldCalls

__all__ = [
    "Clock",
    "ClockKind",
    "Counters",
    "Emulator",
    "Faults",
    "OldEmulator",
    "Recorded",
    "RecordedClock",
    "open_clock",
    "recorded_models",
]


Rt = TypeVar("Rt", bound=Calls)


class Runtime(NewCalls, DeviceCalls, MemoryCalls, EngineCalls, IoCalls):
    """All of `axcl.rt` of V3.10.2."""


class OldRuntime(OldCalls, DeviceCalls, MemoryCalls, EngineCalls, IoCalls):
    """All of `axcl.rt` of V2.25.0."""


class _Module(Calls, Generic[Rt]):
    """One process and its cards: `devices` are PCI bus numbers, each card has `cmm_bytes` of memory (as an
    8 GB card by default; it costs nothing until it is used). Without devices it is a host without a driver.
    How long calls take is up to `clock`, by default as long as this machine computes.

    counters: what was called, and what of it crossed PCIe
    faults:   what shall go wrong next
    """

    runtime: type[Rt]

    def __init__(
        self, devices: Iterable[int] = (129,), cmm_bytes: int = 7040 << 20, clock: Clock | None = None
    ) -> None:
        super().__init__(Process(devices, cmm_bytes, clock or Clock()))
        self.rt = self.runtime(self._process)

    @property
    def counters(self) -> Counters:
        return self._process.counters

    @property
    def faults(self) -> Faults:
        return self._process.faults

    @answers(ret_only)
    def init(self, config: str | None) -> int:
        if not self._process.cards:
            raise Refused(DEVICE_OPEN)
        self._process.initialized = True
        return 0

    @answers(ret_only)
    def finalize(self) -> int:
        self._process.end()
        return 0

    @answers(ret_only)
    def set_log_level(self, level: int) -> int:
        unsigned(level, 32)
        return 0


class Emulator(_Module[Runtime]):
    """V3.10.2."""

    runtime = Runtime


class OldEmulator(_Module[OldRuntime]):
    """V2.25.0."""

    runtime = OldRuntime
