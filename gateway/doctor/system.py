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
        return warning(
            told, "For shorter round trips: cpupower frequency-set -g performance. See `interrupts`."
        )
    return fine(told)


def interrupts(machine: Machine) -> Finding:
    """Every call of the card ends with one. The card knows message-signalled ones only (doc_guide_faq.md of
    AXCL's manual); a fast core for them, with the governor, took a third off the time of small graphs
    (cm3588-ax650n-pcie-tuning)."""
    numbers = [file.name for card in machine.cards() for file in machine.path(f"{card}/msi_irqs").glob("*")]
    if not numbers:
        return skipped("the card has no interrupts yet, which its driver asks for")
    cores = {number: _cores(machine, number) for number in sorted(numbers, key=int)}
    told = ", ".join(f"interrupt {number} on CPU {listed}" for number, listed in cores.items())
    speeds = {
        int(file.parts[-3].removeprefix("cpu")): int(file.read_text())
        for file in machine.path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq")
    }
    fastest = {core for core, speed in speeds.items() if speed == max(speeds.values())}
    slow = [number for number, listed in cores.items() if fastest.isdisjoint(_expanded(listed))]
    if speeds and slow:
        cure = (
            f"For shorter round trips: echo {min(fastest)} > /proc/irq/{slow[0]}/smp_affinity_list, as root "
            "and after every start, with irqbalance kept off it."
        )
        return warning(f"{told}, not on one of the fastest", cure)
    return fine(told)


def _cores(machine: Machine, number: str) -> str:
    """The CPUs that an interrupt goes to, or may go to, as the kernel lists them: 0-3,6."""
    names = ("effective_affinity_list", "smp_affinity_list")
    found = (machine.text(f"/proc/irq/{number}/{name}") for name in names)
    return next((listed for listed in found if listed), "?")


def _expanded(listed: str) -> set[int]:
    ranges = [part.partition("-") for part in listed.split(",") if part[:1].isdigit()]
    return {core for first, _, last in ranges for core in range(int(first), int(last or first) + 1)}


def open_files(machine: Machine) -> Finding:
    """Connections are open files, too."""
    limit = machine.number("/proc/self/limits", r"^Max open files\s+(\d+)")
    if limit is None:
        return fine("no limit of open files")
    if limit < LEAST_OPEN_FILES:
        cure = f"ulimit -n {LEAST_OPEN_FILES}, or LimitNOFILE= in a unit of systemd."
        return warning(f"at most {limit} open files", cure, max_open_files=limit)
    return fine(f"at most {limit} open files", max_open_files=limit)
