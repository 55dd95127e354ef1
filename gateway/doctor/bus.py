"""The card on the PCI bus: there, linked, awake, and with its driver."""

import os
import re

from backends.axcl.cures import HEARTBEAT_BUS
from backends.axcl.installed import DRIVER, FIRMWARE, MODULES, NODES, P2P_MODULE, P2P_NODE
from gateway.doctor.finding import Finding, failed, fine, skipped, warning
from gateway.doctor.machine import Machine

POWER_CYCLE = "Shut the host down and cut its power: a warm reboot keeps the slot powered."
INSTALL = (
    "Install or reinstall axclhost with the headers of the running kernel, with Secure Boot off, then reboot."
)
DEAD = re.compile(r"device \w+: dead!|ax_sglist_alloc_mem.*fail", re.IGNORECASE)
KMSG = "/dev/kmsg"
MAX_KERNEL_RECORDS = 100_000


def on_bus(machine: Machine) -> Finding:
    cards = [name.rpartition("/")[2] for name in machine.cards()]
    if cards:
        return fine(f"{len(cards)} on the PCI bus: {', '.join(cards)}", num_cards=len(cards))
    return failed(
        "no AX650N (1f4b:0650) on the PCI bus",
        "Seat the card again and cut the power once. A Raspberry Pi 5 needs dtparam=pciex1 and "
        "dtoverlay=pciex1-compat-pi5,no-mip in config.txt; a virtual machine needs the card passed through.",
    )


def link(machine: Machine) -> Finding:
    """Of the first card that has something wrong with it, else of the first."""
    findings = [_link(machine, name) for name in machine.cards()]
    return next((finding for finding in findings if finding.status != "ok"), findings[0])


def _link(machine: Machine, card: str) -> Finding:
    slot = card.rpartition("/")[2]
    speed, top = (_speed(machine, f"{card}/{which}_link_speed") for which in ("current", "max"))
    width, widest = (machine.number(f"{card}/{which}_link_width", r"(\d+)") for which in ("current", "max"))
    told = f"{slot} at {speed:g} GT/s x{width or '?'} of at most {top:g} GT/s x{widest or '?'}"
    numbers = {"speed_gt_s": speed, "width": width, "max_speed_gt_s": top, "max_width": widest}
    power = machine.text(f"{card}/power_state")
    if power not in (None, "D0", "unknown"):
        return failed(f"{slot} is in the power state {power}", f"Disable host sleep. {POWER_CYCLE}")
    regions = (machine.text(f"{card}/resource") or "").splitlines()[:6]
    if regions and not any(int(field, 16) for line in regions for field in line.split()[:2]):
        return failed(f"{slot} has no memory region (all BARs are 0): the link is lost", POWER_CYCLE)
    if speed < top:
        cure = "Check seating and riser, or dtparam=pciex1_gen=2 on a Raspberry Pi 5."
        return warning(f"{told}: slower than it could be", cure, **numbers)
    return fine(told + (", as on every Raspberry Pi 5" if width == 1 else ""), **numbers)


def _speed(machine: Machine, name: str) -> float:
    """GT/s; 0 where the kernel does not say."""
    found = re.match(r"([\d.]+)", machine.text(name) or "")
    return float(found[1]) if found else 0.0


def aspm(machine: Machine) -> Finding:
    """The AX650N has no ASPM support (doc_guide_faq.md of AXCL's manual)."""
    policy = re.search(r"\[(\w+)\]", machine.text("/sys/module/pcie_aspm/parameters/policy") or "")
    on = [card.rpartition("/")[2] for card in machine.cards() if machine.text(f"{card}/link/l1_aspm") == "1"]
    cure = "Boot with pcie_aspm=off on the kernel's command line."
    if on:
        return failed(
            f"the link of {', '.join(on)} may be put to sleep (ASPM L1), which it does not wake from", cure
        )
    if policy and policy[1].startswith("power"):
        return warning(f"the kernel's ASPM policy is {policy[1]}", cure)
    return fine(f"ASPM policy {policy[1]}" if policy else "no ASPM")


def driver(machine: Machine) -> Finding:
    """That for copies between cards is not used, and not there in every version."""
    loaded = {line.split()[0] for line in (machine.text("/proc/modules") or "").splitlines() if line}
    missing = [module for module in MODULES if module not in loaded]
    if missing:
        return failed(f"kernel modules not loaded: {', '.join(missing)}", INSTALL)
    for card in machine.cards():
        bound = machine.path(f"{card}/driver").resolve().name
        if bound != DRIVER:
            found = f"{card.rpartition('/')[2]} is not bound to {DRIVER}" + (
                f" but to {bound}" if bound != "driver" else ""
            )
            return failed(found, f"modprobe -r axcl_host && modprobe axcl_host. {INSTALL}")
    told = f"all {len(MODULES)} kernel modules loaded, {DRIVER} bound"
    return fine(told if P2P_MODULE in loaded else f"{told}; no {P2P_MODULE}")


def nodes(machine: Machine) -> Finding:
    """That for copies between cards is not used, and not there in every version."""
    missing = [node for node in NODES if not machine.path(node).exists()]
    if missing:
        cure = "Load the driver; give a container each of them (docker run --device …) and /usr/lib/axcl."
        return failed(f"device nodes not there: {', '.join(missing)}", cure)
    mine = [node for node in NODES if not _may_use(machine, node)]
    if mine:
        cure = "Reinstall axclhost for its udev rule (axcl_host.rules, mode 0666), or: udevadm trigger."
        return failed(f"this user may not open {', '.join(mine)}", cure)
    told = f"{', '.join(NODES)} may be opened"
    return fine(told if machine.path(P2P_NODE).exists() else f"{told}; no {P2P_NODE}")


def _may_use(machine: Machine, node: str) -> bool:
    return os.access(machine.path(node), os.R_OK | os.W_OK, effective_ids=True)


def firmware(machine: Machine) -> Finding:
    files = sorted(file.name for file in machine.path(FIRMWARE).glob("*.pac"))
    if not files:
        return warning(f"no firmware in {FIRMWARE}", "Reinstall axclhost (in a container, look on its host).")
    return fine(f"{', '.join(files)} in {FIRMWARE}")


def kernel_log(machine: Machine) -> Finding:
    """The lines with which the driver gives a card up."""
    try:
        log = _kernel_messages(machine)
    except OSError as reason:
        return skipped(f"the kernel's log cannot be read ({reason.strerror}); dmesg as root shows it")
    lines = [line for line in log.splitlines() if DEAD.search(line)]
    if not lines:
        return fine("the kernel's log names no dead card")
    found = f"the kernel's log says {len(lines)} times: {lines[-1].rpartition(';')[2]}"
    buses = [int(name.split(":")[1], 16) for name in machine.cards()]
    if buses and HEARTBEAT_BUS not in buses and "dead!" in lines[-1]:
        cure = (
            f"Some drivers hear the heartbeats of cards on bus {HEARTBEAT_BUS} only, and this one is on bus "
            f"{buses[0]}: if that comes 50 s after every load of the driver, the card is well, and another "
            f"slot helps, or a driver with slot_index_force={HEARTBEAT_BUS} for ax_pcie_host_dev."
        )
        return warning(found, cure, num_lines=len(lines))
    return warning(
        found,
        "axcl-smi reboot, then modprobe -r axcl_host && modprobe axcl_host, then a power cycle. If it "
        "follows ax_sglist_alloc_mem, see `cma`.",
        num_lines=len(lines),
    )


def _kernel_messages(machine: Machine) -> str:
    """/dev/kmsg gives one record a read, and says would-block at the end, a file gives nothing."""
    pieces: list[bytes] = []
    descriptor = os.open(machine.path(KMSG), os.O_RDONLY | os.O_NONBLOCK)
    try:
        while len(pieces) < MAX_KERNEL_RECORDS:
            try:
                piece = os.read(descriptor, 8192)
            except BrokenPipeError:  # overwritten meanwhile; the next read goes on behind it
                continue
            except BlockingIOError:
                break
            if not piece:
                break
            pieces.append(piece)
    finally:
        os.close(descriptor)
    return b"".join(pieces).decode(errors="replace")
