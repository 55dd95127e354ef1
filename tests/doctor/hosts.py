"""Hosts to examine: a folder with the files of one on which everything is in order."""

import struct
from dataclasses import replace
from pathlib import Path

from backends.axcl.installed import LIBRARIES, MODULES, NODES, P2P_MODULE, P2P_NODE
from gateway.doctor.machine import Machine
from gateway.doctor.software import LOGGER

CARD = "sys/bus/pci/devices/0000:03:00.0"
LOG = "tmp/axgate-axcl-1000.log"


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + struct.pack("<H", machine)


def healthy(root: Path) -> Machine:
    """A Raspberry Pi 5 with a card on bus 3."""
    files = {
        f"{CARD}/vendor": "0x1f4b\n",
        f"{CARD}/device": "0x0650\n",
        f"{CARD}/current_link_speed": "5.0 GT/s PCIe\n",
        f"{CARD}/max_link_speed": "5.0 GT/s PCIe\n",
        f"{CARD}/current_link_width": "1\n",
        f"{CARD}/max_link_width": "2\n",
        f"{CARD}/power_state": "D0\n",
        f"{CARD}/resource": "0x1b00000000 0x1b00ffffff 0x14220c\n" + 5 * "0x0 0x0 0x0\n",
        f"{CARD}/link/l1_aspm": "0\n",
        "sys/bus/pci/devices/0000:00:00.0/vendor": "0x14e4\n",
        "sys/bus/pci/devices/0000:00:00.0/device": "0x2712\n",
        "sys/module/pcie_aspm/parameters/policy": "[default] performance powersave powersupersave\n",
        "sys/power/state": "freeze mem\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq": "2400000\n",
        f"{CARD}/msi_irqs/123": "msi\n",
        "proc/irq/123/smp_affinity_list": "0-1\n",
        "proc/irq/123/effective_affinity_list": "1\n",
        "proc/modules": "".join(f"{name} 16384 0 - Live 0x0\n" for name in (*MODULES, P2P_MODULE)),
        "proc/meminfo": "MemTotal: 8000000 kB\nCmaTotal:         262144 kB\nCmaFree:          200000 kB\n",
        "proc/self/limits": "Max open files            4096                 1048576              files\n",
        "lib/firmware/axcl/ax650_card.pac": "",
        "var/lib/dpkg/status": "Package: axclhost\nStatus: install ok installed\nVersion: V3.10.2-1\n\n",
        "site/pyAXCL-3.10.2.dist-info/METADATA": "Metadata-Version: 2.1\nName: pyAXCL\nVersion: 3.10.2\n",
        "dev/kmsg": "6,1,0,-;booted\n6,2,9,-;device 3: up\n",
        "usr/bin/axcl/axcl.json": '{"dma buf size": "0x200000"}',
        LOG: "",
    }
    files |= {node.lstrip("/"): "" for node in (*NODES, P2P_NODE)}
    for name, text in files.items():
        write(root, name, text)
    for name in (*LIBRARIES, LOGGER):
        write(root, f"usr/lib/axcl/{name}", "")
        (root / "usr/lib/axcl" / name).write_bytes(elf(183))
    bound = root / "sys/bus/pci/drivers/ax_pcie_dev_host"
    bound.mkdir(parents=True)
    (root / CARD / "driver").symlink_to(bound)
    (root / "run/systemd/system").mkdir(parents=True)
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    for target in ("sleep", "suspend", "hibernate", "hybrid-sleep"):
        (units / f"{target}.target").symlink_to("/dev/null")
    return Machine(
        root=root,
        libraries=Path("/usr/lib/axcl"),
        site=(str(root / "site"),),
        log=Path("/") / LOG,
        architecture="aarch64",
        pointer_bits=64,
        slept_s=0.0,
    )


def asleep(machine: Machine) -> Machine:
    return replace(machine, slept_s=3600.0)
