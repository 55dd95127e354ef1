"""Settings of the host that a card depends on: sleep, memory for DMA, clock, limits."""

from backends.axcl.cures import LEAST_CMA_BYTES, NAP_S
from gateway.doctor.finding import Finding, failed, fine, skipped, warning
from gateway.doctor.machine import Machine

SLEEP_TARGETS = ("sleep.target", "suspend.target", "hibernate.target", "hybrid-sleep.target")
MASK = f"systemctl mask {' '.join(SLEEP_TARGETS)}"
LEAST_OPEN_FILES = 1024
SMALL_CMA_BYTES = 64 << 20  # what a Raspberry Pi 5 has by default


def sleep(machine: Machine) -> Finding:
    """Suspend is what no card survives."""
    if machine.slept_s > NAP_S:
        return failed(
            f"the host has slept for {machine.slept_s:.0f} s since it was started, which no card survives",
            f"{MASK}, then cut the power once.",
            slept_s=machine.slept_s,
        )
    states = machine.text("/sys/power/state")
    if not states:
        return fine("this kernel cannot suspend")
    if not machine.path("/run/systemd/system").is_dir():
        return skipped(f"the kernel can suspend ({states}); who may ask for it is not known without systemd")
    awake = [t for t in SLEEP_TARGETS if not _masked(machine, t)]
    if awake:
        return warning(f"the host may go to sleep: {', '.join(awake)} not masked", f"{MASK}.")
    return fine("all sleep targets are masked")


def _masked(machine: Machine, target: str) -> bool:
    """Masked units are links to /dev/null."""
    path = machine.path(f"/etc/systemd/system/{target}")
    return path.is_symlink() and str(path.readlink()) == "/dev/null"


def cma(machine: Machine) -> Finding:
    """Only a warning: the kernel lends CMA to others and takes it back where it can."""
    total, free = (
        machine.number("/proc/meminfo", rf"^{name}:\s+(\d+) kB") for name in ("CmaTotal", "CmaFree")
    )
    if not total or free is None:
        return skipped("this kernel keeps no CMA")
    told = f"{free >> 10} of {total >> 10} MiB of CMA free"
    numbers = {"cma_bytes": total << 10, "cma_free_bytes": free << 10}
    cure = "Boot with a larger cma= on the kernel's command line, such as cma=256M."
    if free << 10 < LEAST_CMA_BYTES:
        return warning(f"{told}, AXCL takes {LEAST_CMA_BYTES >> 20} MiB for a process", cure, **numbers)
    if total << 10 <= SMALL_CMA_BYTES:
        return warning(f"{told}, room for {(free << 10) // LEAST_CMA_BYTES} processes", cure, **numbers)
    return fine(told, **numbers)


def governor(machine: Machine) -> Finding:
    """A call of the card wakes threads of the host two or three times."""
    files = sorted(machine.path("/sys/devices/system/cpu").glob("cpu*/cpufreq/scaling_governor"))
    found = sorted({file.read_text().strip() for file in files})
    if not found:
        return skipped("the kernel does not set the clock of these CPUs")
    told = f"CPU governor {', '.join(found)}"
    if found != ["performance"]:
        cure = (
            "For shorter round trips: cpupower frequency-set -g performance, and the card's interrupts on a "
            "fast core (/proc/irq/*/smp_affinity_list)."
        )
        return warning(told, cure)
    return fine(told)


def open_files(machine: Machine) -> Finding:
    """Connections are open files, too."""
    limit = machine.number("/proc/self/limits", r"^Max open files\s+(\d+)")
    if limit is None:
        return fine("no limit of open files")
    if limit < LEAST_OPEN_FILES:
        cure = f"ulimit -n {LEAST_OPEN_FILES}, or LimitNOFILE= in a unit of systemd."
        return warning(f"at most {limit} open files", cure, max_open_files=limit)
    return fine(f"at most {limit} open files", max_open_files=limit)
