"""Causes outside this program for which a card is known to fail, how each is recognised, and what helps.

A code alone rarely tells: the same card that does not answer may have been put to sleep with its host, or be
taken for dead by its driver. So a cause is named only where the host shows it, too.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backends.axcl import codes
from backends.base import DeviceError, DeviceMemoryError

VENDOR, DEVICE = "0x1f4b", "0x0650"  # of the AX650N's PCIe endpoint (ax_pcie_dev.h of the host driver)
HEARTBEAT_BUS = 3  # the number that cards give in their heartbeats, wherever they are
LEAST_CMA_BYTES = 12 << 20  # up to three buffers of 4 MiB for a process (doc_guide_faq.md of AXCL's manual)
NAP_S = 1.0

TASK_NOT_EXECUTED, PORTS_REFUSED = 0x8030040C, 0x80300186
SILENT = {TASK_NOT_EXECUTED, PORTS_REFUSED, codes.EXECUTE_FAIL}


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that the card is in.

    buses: PCI bus numbers of its cards. slept_s: in suspend since it was started. cma_bytes, cma_free_bytes:
    memory that its kernel keeps for devices.
    """

    buses: tuple[int, ...] = ()
    slept_s: float = 0.0
    cma_bytes: int = 0
    cma_free_bytes: int = 0

    @classmethod
    def look(cls) -> "Host":
        """Without a call of the card's library: it may be what hangs."""
        return cls(_buses(), _slept_s(), _meminfo("CmaTotal"), _meminfo("CmaFree"))


@dataclass(frozen=True, slots=True)
class Cure:
    """`seen` says whether this is it, `advice` says what happened and what helps, without a full stop."""

    seen: Callable[[int, Host], bool]
    advice: Callable[[Host], str]


def cures(reason: Exception, host: Host) -> list[str]:
    """What to do about each known cause that what the card said and what the host shows agree with."""
    if not isinstance(reason, DeviceError) or not host.buses:
        return []
    return _known(codes.NO_DEVICE_MEMORY if isinstance(reason, DeviceMemoryError) else reason.code, host)


def cures_of_silence(host: Host) -> list[str]:
    """The same of a call that never came back: so the first one ends after a card died, and those after it
    with a code."""
    return _known(TASK_NOT_EXECUTED, host) if host.buses else []


def cures_of_full(host: Host) -> list[str]:
    """The same of a card that has less free than a model takes."""
    return _known(codes.NO_DEVICE_MEMORY, host) if host.buses else []


def _known(code: int, host: Host) -> list[str]:
    return [cure.advice(host) for cure in KNOWN if cure.seen(code, host)]


KNOWN = (
    # Suspend: the AX650N has no ASPM support (doc_guide_faq.md).
    Cure(
        lambda code, host: code in SILENT and host.slept_s > NAP_S,
        lambda host: (
            f"The host has slept for {host.slept_s:.0f} s since it was started, which no card survives: "
            "disable that (systemctl mask sleep.target suspend.target hibernate.target) and power-cycle it"
        ),
    ),
    # The host's own memory for DMA (64 MiB on a Raspberry Pi 5), with "ax_sglist_alloc_mem … failed" in dmesg
    # and a card that is declared dead afterwards (gregm123456/ollama_ax650_pi).
    Cure(
        lambda code, host: host.cma_bytes > 0 and host.cma_free_bytes < LEAST_CMA_BYTES,
        lambda host: (
            f"The host has {host.cma_free_bytes >> 20} of its {host.cma_bytes >> 20} MiB of CMA left, and "
            f"AXCL takes up to {LEAST_CMA_BYTES >> 20} MiB for a process: boot with a larger cma= on the "
            "kernel's command line, such as cma=256M"
        ),
    ),
    # The driver compares the number in a heartbeat with the bus number (onnxsim/onnxsim#1215).
    Cure(
        lambda code, host: code in SILENT - {codes.EXECUTE_FAIL} and HEARTBEAT_BUS not in host.buses,
        lambda host: (
            f"The card is on PCI bus {host.buses[0]}, and there are host drivers that hear the heartbeats of "
            f"cards on bus {HEARTBEAT_BUS} only: if dmesg says 'device {host.buses[0]}: dead!' 50 s after "
            "the driver was loaded, the card is well, and another slot, or a driver with the parameter "
            f"slot_index_force={HEARTBEAT_BUS} for ax_pcie_host_dev, helps"
        ),
    ),
    # Memory that the driver has not got back from a process that was killed (AXERA-TECH/ax-llm#60).
    Cure(
        lambda code, host: code == codes.NO_DEVICE_MEMORY,
        lambda host: (
            "If axcl-smi shows CMM in use though no program uses the card, a program that died has left it: "
            "axcl-smi reboot gives it back"
        ),
    ),
    # Recovery in the order of what it costs; pyAXCL has no call to reboot a card.
    Cure(
        lambda code, host: code in SILENT,
        lambda host: (
            "If the card stays away: axcl-smi reboot, then modprobe -r axcl_host && modprobe axcl_host, then "
            "a power cycle"
        ),
    ),
)


def _buses() -> tuple[int, ...]:
    found = []
    for folder in sorted(Path("/sys/bus/pci/devices").glob("*")):
        try:
            ids = [(folder / name).read_text().strip() for name in ("vendor", "device")]
        except OSError:
            continue
        if ids == [VENDOR, DEVICE]:
            found.append(int(folder.name.split(":")[1], 16))  # 0000:03:00.0
    return tuple(found)


def _slept_s() -> float:
    """One clock goes on while the host sleeps, the other does not (Linux)."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is None:
        return 0.0
    awake_s = time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.clock_gettime(boot) - awake_s


def _meminfo(name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0
