"""Hosts with something wrong: the check that sees it, what was done to them, and what is told."""

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

from backends.axcl.installed import LIBRARIES
from gateway.doctor import bus, software, system
from gateway.doctor.finding import Finding
from gateway.doctor.machine import Machine
from tests.doctor.hosts import CARD, elf, write

Look = Callable[[Machine], Finding]
Spoil = Callable[[Path], None]


def text(name: str, content: str) -> Spoil:
    return lambda root: write(root, name, content)


def gone(name: str) -> Spoil:
    def remove(root: Path) -> None:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            rmtree(path)
        else:
            path.unlink()

    return remove


def another_architecture(root: Path) -> None:
    (root / "usr/lib/axcl" / LIBRARIES[-1]).write_bytes(elf(62))


def another_driver(root: Path) -> None:
    other = root / "sys/bus/pci/drivers/vfio-pci"
    other.mkdir()
    (root / CARD / "driver").unlink()
    (root / CARD / "driver").symlink_to(other)


def on_bus_1(root: Path) -> None:
    (root / CARD).rename(root / CARD.replace(":03:", ":01:"))
    write(root, "dev/kmsg", "3,9,9,-;[heartbeat_recv_thread, 9]: device 1: dead!\n")


DPKG = "var/lib/dpkg/status"
BAD: dict[str, tuple[Look, Spoil, str, str, str]] = {
    "no card": (bus.on_bus, gone(CARD), "failed", "no AX650N (1f4b:0650) on the PCI bus", "Seat the card"),
    "slow link": (
        bus.link,
        text(f"{CARD}/current_link_speed", "2.5 GT/s PCIe"),
        "warning",
        "0000:03:00.0 at 2.5 GT/s x1 of at most 5 GT/s x2: slower than it could be",
        "pciex1_gen=2",
    ),
    "lost link": (
        bus.link,
        text(f"{CARD}/resource", 6 * "0x0000000000000000 0x0000000000000000 0x0\n"),
        "failed",
        "0000:03:00.0 has no memory region (all BARs are 0): the link is lost",
        "cut its power",
    ),
    "powered down": (
        bus.link,
        text(f"{CARD}/power_state", "D3cold"),
        "failed",
        "0000:03:00.0 is in the power state D3cold",
        "Disable host sleep",
    ),
    "link that sleeps": (
        bus.aspm,
        text(f"{CARD}/link/l1_aspm", "1"),
        "failed",
        "the link of 0000:03:00.0 may be put to sleep (ASPM L1), which it does not wake from",
        "pcie_aspm=off",
    ),
    "ASPM wanted": (
        bus.aspm,
        text("sys/module/pcie_aspm/parameters/policy", "default performance [powersave]"),
        "warning",
        "the kernel's ASPM policy is powersave",
        "pcie_aspm=off",
    ),
    "missing module": (
        bus.driver,
        text("proc/modules", "ax_pcie_host_dev 1 0\nax_pcie_msg 1 0\nax_pcie_mmb 1 0\nax_pcie_p2p_rc 1 0\n"),
        "failed",
        "kernel modules not loaded: axcl_host",
        "headers of the running kernel",
    ),
    "unbound": (
        bus.driver,
        gone(f"{CARD}/driver"),
        "failed",
        "0000:03:00.0 is not bound to ax_pcie_dev_host",
        "modprobe axcl_host",
    ),
    "bound elsewhere": (
        bus.driver,
        another_driver,
        "failed",
        "0000:03:00.0 is not bound to ax_pcie_dev_host but to vfio-pci",
        "modprobe axcl_host",
    ),
    "missing node": (
        bus.nodes,
        gone("dev/ax_mmb_dev"),
        "failed",
        "device nodes not there: /dev/ax_mmb_dev",
        "give a container each of them",
    ),
    "no firmware": (
        bus.firmware,
        gone("lib/firmware/axcl/ax650_card.pac"),
        "warning",
        "no firmware in /lib/firmware/axcl",
        "Reinstall axclhost",
    ),
    "missing library": (
        software.libraries,
        gone("usr/lib/axcl/libaxcl_npu.so"),
        "failed",
        "/usr/lib/axcl lacks 1 of 15 libraries, such as libaxcl_npu.so",
        "AXCL_LIB_PATH",
    ),
    "library of before V3.10": (
        software.libraries,
        gone("usr/lib/axcl/libaxcl_logger.so"),
        "failed",
        "/usr/lib/axcl lacks 1 of 15 libraries, such as libaxcl_logger.so",
        "Reinstall axclhost",
    ),
    "library for another machine": (
        software.libraries,
        another_architecture,
        "failed",
        "libaxcl_npu.so is no library for aarch64",
        "Install axclhost for this machine.",
    ),
    "no pyAXCL": (
        software.versions,
        gone("site/pyAXCL-3.10.2.dist-info"),
        "warning",
        "axclhost V3.10.2-1, pyAXCL not installed",
        "Install the wheel",
    ),
    "versions that differ": (
        software.versions,
        text(DPKG, "Package: other\nVersion: 1\n\nPackage: axclhost\nSection: x\nVersion: 2.26.0\n\n"),
        "warning",
        "axclhost 2.26.0, pyAXCL 3.10.2: they differ",
        "Install pyAXCL 2.26.0.",
    ),
    "tiny DMA buffers": (
        software.dma_buffer,
        text("usr/bin/axcl/axcl.json", '{"dma buf size": "0x1000"}'),
        "warning",
        "/usr/bin/axcl/axcl.json asks for DMA buffers of 4096 bytes",
        '"0x100000"',
    ),
    "no JSON": (
        software.dma_buffer,
        text("usr/bin/axcl/axcl.json", '{"dma buf size": 4194304}'),
        "warning",
        "/usr/bin/axcl/axcl.json cannot be read: the library ignores it",
        "hexadecimal text",
    ),
    "nobody's log": (
        software.log_place,
        gone("tmp"),
        "warning",
        "this user may not write the library's log /tmp/axgate-axcl-1000.log",
        "Remove /tmp/axgate-axcl-1000.log.",
    ),
    "sleepy host": (
        system.sleep,
        gone("etc/systemd/system/suspend.target"),
        "warning",
        "the host may go to sleep: suspend.target not masked",
        "systemctl mask sleep.target",
    ),
    "little CMA": (
        system.cma,
        text("proc/meminfo", "CmaTotal: 65536 kB\nCmaFree: 4096 kB\n"),
        "warning",
        "4 of 64 MiB of CMA free, AXCL takes 12 MiB for a process",
        "cma=256M",
    ),
    "CMA as a Raspberry Pi has it": (
        system.cma,
        text("proc/meminfo", "CmaTotal: 65536 kB\nCmaFree: 61440 kB\n"),
        "warning",
        "60 of 64 MiB of CMA free, room for 5 processes",
        "cma=256M",
    ),
    "slow CPU": (
        system.governor,
        text("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "ondemand\n"),
        "warning",
        "CPU governor ondemand, performance",
        "cpupower",
    ),
    "interrupt on a slow CPU": (
        system.interrupts,
        text("proc/irq/123/effective_affinity_list", "0"),
        "warning",
        "interrupt 123 on CPU 0, not on one of the fastest",
        "echo 1 > /proc/irq/123/smp_affinity_list",
    ),
    "few files": (
        system.open_files,
        text(
            "proc/self/limits", "Max open files            256                 1048576              files\n"
        ),
        "warning",
        "at most 256 open files",
        "ulimit -n 1024",
    ),
    "dead card": (
        bus.kernel_log,
        text("dev/kmsg", "3,9,9,-;device 3: dead!\n3,9,9,-;[heartbeat_recv_thread, 9]: device 3: dead!\n"),
        "warning",
        "the kernel's log says 2 times: [heartbeat_recv_thread, 9]: device 3: dead!",
        "axcl-smi reboot",
    ),
    "card that is taken for dead": (
        bus.kernel_log,
        on_bus_1,
        "warning",
        "the kernel's log says 1 times: [heartbeat_recv_thread, 9]: device 1: dead!",
        "slot_index_force=3",
    ),
}
