"""Every check of the host, on one that is in order and on those that are not."""

from dataclasses import replace
from pathlib import Path

import pytest

from backends.axcl.installed import MODULES
from gateway.doctor import bus, software, system
from gateway.doctor.machine import Machine
from tests.doctor.bad_hosts import BAD, Look, Spoil, gone, text
from tests.doctor.hosts import CARD, LOG, asleep, healthy
from tests.somebody import CLOSED, somebody_else

ALL: dict[Look, str] = {
    software.python: "Python of 64 bits on aarch64",
    system.open_files: "at most 4096 open files",
    bus.on_bus: "1 on the PCI bus: 0000:03:00.0",
    bus.link: "0000:03:00.0 at 5 GT/s x1 of at most 5 GT/s x2, as on every Raspberry Pi 5",
    bus.aspm: "ASPM policy default",
    bus.driver: "all 4 kernel modules loaded, ax_pcie_dev_host bound",
    bus.nodes: "/dev/axcl_host, /dev/msg_userdev, /dev/ax_mmb_dev may be opened",
    bus.firmware: "ax650_card.pac in /lib/firmware/axcl",
    software.libraries: "all 15 libraries in /usr/lib/axcl, for aarch64",
    software.versions: "axclhost V3.10.2-1, pyAXCL 3.10.2",
    software.dma_buffer: (
        "4 MiB a buffer, the library's default; 2 MiB for others (/usr/bin/axcl/axcl.json)"
    ),
    software.log_place: "the library's log axgate-axcl-1000.log may be written",
    system.sleep: "all sleep targets are masked",
    system.cma: "195 of 256 MiB of CMA free",
    system.governor: "CPU governor performance",
    system.interrupts: "interrupt 123 on CPU 1",
    bus.kernel_log: "the kernel's log names no dead card",
}


@pytest.mark.parametrize("look", ALL, ids=lambda look: look.__name__)
def test_a_host_in_order_is_ok(tmp_path: Path, look: Look) -> None:
    finding = look(healthy(tmp_path))
    assert (finding.status, finding.found, finding.cure) == ("ok", ALL[look], "")


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_with_its_cure(tmp_path: Path, name: str) -> None:
    look, spoil, status, found, cure = BAD[name]
    machine = healthy(tmp_path)
    spoil(tmp_path)
    finding = look(machine)
    assert (finding.status, finding.found) == (status, found)
    assert cure in finding.cure


def test_a_host_that_has_slept_is_told() -> None:
    finding = system.sleep(asleep(Machine.here()))
    assert (finding.status, finding.numbers) == ("failed", {"slept_s": 3600.0})
    assert "systemctl mask" in finding.cure


def test_a_python_of_32_bits_is_told() -> None:
    finding = software.python(replace(Machine.here(), pointer_bits=32))
    assert (finding.status, finding.found) == ("failed", "this Python has 32 bits")


def test_nodes_that_this_user_may_not_open_are_told(tmp_path: Path) -> None:
    machine = healthy(tmp_path)
    for node in ("axcl_host", "msg_userdev", "ax_mmb_dev"):
        (tmp_path / "dev" / node).chmod(CLOSED if node == "ax_mmb_dev" else 0o666)
    with somebody_else(tmp_path):
        finding = bus.nodes(machine)
    assert (finding.status, finding.found) == ("failed", "this user may not open /dev/ax_mmb_dev")
    assert "udev" in finding.cure


@pytest.mark.parametrize(
    ("look", "spoil", "found"),
    [
        (system.cma, text("proc/meminfo", "MemTotal: 1 kB\n"), "this kernel keeps no CMA"),
        (system.governor, gone("sys/devices/system/cpu"), "the kernel does not set the clock of these CPUs"),
        (system.interrupts, gone(f"{CARD}/msi_irqs"), "the card has no interrupts yet"),
        (bus.kernel_log, gone("dev/kmsg"), "the kernel's log cannot be read (No such file or directory)"),
        (system.sleep, gone("run/systemd/system"), "the kernel can suspend (freeze mem); who may ask"),
    ],
)
def test_what_cannot_be_known_is_skipped(tmp_path: Path, look: Look, spoil: Spoil, found: str) -> None:
    machine = healthy(tmp_path)
    spoil(tmp_path)
    finding = look(machine)
    assert (finding.status, finding.found[: len(found)]) == ("skipped", found)


def test_an_old_driver_has_nothing_for_copies_between_cards(tmp_path: Path) -> None:
    machine = healthy(tmp_path)
    modules = "".join(f"{name} 16384 0\n" for name in MODULES)
    text("proc/modules", modules)(tmp_path)
    gone("dev/p2p")(tmp_path)
    found = [bus.driver(machine), bus.nodes(machine)]
    assert [finding.status for finding in found] == ["ok", "ok"]
    assert [finding.found.rpartition("; ")[2] for finding in found] == ["no ax_pcie_p2p_rc", "no /dev/p2p"]


def test_an_old_binding_needs_no_logger(tmp_path: Path) -> None:
    machine = healthy(tmp_path)
    gone("usr/lib/axcl/libaxcl_logger.so")(tmp_path)
    gone("site/pyAXCL-3.10.2.dist-info")(tmp_path)
    text("site/pyAXCL-2.26.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: pyAXCL\nVersion: 2.26.0\n")(
        tmp_path
    )
    assert software.libraries(machine).found == "all 14 libraries in /usr/lib/axcl, for aarch64"


@pytest.mark.parametrize(("listed", "status"), [("0-1", "ok"), ("0", "warning"), ("0,2-3", "warning")])
def test_an_interrupt_that_may_come_to_a_fast_cpu_is_ok(tmp_path: Path, listed: str, status: str) -> None:
    machine = healthy(tmp_path)
    gone("proc/irq/123/effective_affinity_list")(tmp_path)
    text("proc/irq/123/smp_affinity_list", listed)(tmp_path)
    assert system.interrupts(machine).status == status


def test_where_all_cpus_are_the_same_any_will_do(tmp_path: Path) -> None:
    machine = healthy(tmp_path)
    gone("sys/devices/system/cpu")(tmp_path)
    text("proc/irq/123/effective_affinity_list", "0")(tmp_path)
    assert system.interrupts(machine).found == "interrupt 123 on CPU 0"


def test_a_kernel_that_cannot_suspend_is_ok(tmp_path: Path) -> None:
    machine = healthy(tmp_path)
    gone("sys/power/state")(tmp_path)
    assert system.sleep(machine).found == "this kernel cannot suspend"


def test_the_log_is_the_one_that_the_library_is_told_to_write(tmp_path: Path) -> None:
    assert healthy(tmp_path).path(Path("/") / LOG).is_file()
    assert Machine.here().log.name.startswith("axgate-axcl-")
