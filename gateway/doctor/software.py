"""What is installed: Python, the card's libraries, pyAXCL, and that they belong together."""

import json
import os
import re
import struct
from importlib.metadata import Distribution

from backends.axcl.installed import BINDING, LIBRARIES, PACKAGE, TOOLS
from gateway.doctor.finding import Finding, failed, fine, warning
from gateway.doctor.machine import Machine

ELF_MACHINES = {"x86_64": 62, "aarch64": 183, "loongarch64": 258}
CONFIG = f"{TOOLS}/axcl.json"
LEAST_DMA_BYTES, DMA_BYTES = 0x100000, 0x400000  # doc_guide_faq.md of AXCL's manual
REINSTALL = "Reinstall axclhost, and run ldconfig."
LOGGER = "libaxcl_logger.so"
"""What pyAXCL opens from V3.10 on, beside the others."""


def python(machine: Machine) -> Finding:
    if machine.pointer_bits != 64:
        return failed(f"this Python has {machine.pointer_bits} bits", "pyAXCL needs a Python of 64 bits.")
    return fine(f"Python of {machine.pointer_bits} bits on {machine.architecture}")


def libraries(machine: Machine) -> Finding:
    folder = machine.path(machine.libraries)
    newer = _numbers(binding_version(machine) or "") >= (3, 10)
    wanted = (*LIBRARIES, LOGGER) if newer else LIBRARIES
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        told = f"{machine.libraries} lacks {len(missing)} of {len(wanted)} libraries, such as {missing[0]}"
        return failed(told, f"{REINSTALL} If they are elsewhere, set AXCL_LIB_PATH to their folder.")
    expected = ELF_MACHINES.get(machine.architecture)
    for name in wanted:
        found = _elf_machine((folder / name).read_bytes()[:20])
        if found is None or expected not in (None, found):
            return failed(
                f"{name} is no library for {machine.architecture}", "Install axclhost for this machine."
            )
    return fine(f"all {len(wanted)} libraries in {machine.libraries}, for {machine.architecture}")


def _elf_machine(head: bytes) -> int | None:
    """Field e_machine of an ELF header."""
    if len(head) < 20 or not head.startswith(b"\x7fELF"):
        return None
    return int(struct.unpack("<H" if head[5] == 1 else ">H", head[18:20])[0])


def versions(machine: Machine) -> Finding:
    """pyAXCL's version is meant to be that of the libraries."""
    binding = binding_version(machine)
    entry = re.search(
        rf"^Package: {PACKAGE}\n(?:.+\n)*?Version: (\S+)",
        machine.text("/var/lib/dpkg/status") or "",
        re.MULTILINE,
    )
    package = entry[1] if entry else None
    told = f"{PACKAGE} {package or 'not known to dpkg'}, {BINDING} {binding or 'not installed'}"
    numbers = {"axclhost": package, "pyaxcl": binding}
    if binding is None:
        cure = "Install the wheel of pyAXCL that matches axclhost into the environment of axgate."
        return warning(told, cure, **numbers)
    if package is not None and release(package) != release(binding):
        return warning(f"{told}: they differ", f"Install {BINDING} {release(package)}.", **numbers)
    return fine(told, **numbers)


def binding_version(machine: Machine) -> str | None:
    """Of pyAXCL; None where it is not installed."""
    return next((d.version for d in Distribution.discover(name=BINDING, path=list(machine.site))), None)


def release(version: str) -> str:
    """V3.10.2_20251126 and 3.10.2-1 are both 3.10.2."""
    found = re.search(r"\d+(\.\d+)+", version)
    return found[0] if found else version


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", release(version))))


def dma_buffer(machine: Machine) -> Finding:
    """axgate hands the library its own settings, without this one; other programs take the file's."""
    text = machine.text(CONFIG)
    default = f"{DMA_BYTES >> 20} MiB a buffer, the library's default"
    if text is None:
        return fine(default)
    cure = f'"dma buf size" takes hexadecimal text of at least "{LEAST_DMA_BYTES:#x}".'
    try:
        given = json.loads(text).get("dma buf size")
        size = DMA_BYTES if given is None else int(given, 16)
    except (ValueError, TypeError, AttributeError):
        return warning(f"{CONFIG} cannot be read: the library ignores it", cure)
    if size < LEAST_DMA_BYTES:
        return warning(f"{CONFIG} asks for DMA buffers of {size} bytes", cure, dma_bytes=size)
    return fine(
        default + (f"; {size >> 20} MiB for others ({CONFIG})" if size != DMA_BYTES else ""), dma_bytes=size
    )


def log_place(machine: Machine) -> Finding:
    """A library that cannot write its log goes on, but nobody learns what it had to say."""
    log = machine.path(machine.log)
    target = log if log.exists() else log.parent
    if os.access(target, os.W_OK, effective_ids=True):
        return fine(f"the library's log {log.name} may be written")
    return warning(f"this user may not write the library's log {machine.log}", f"Remove {machine.log}.")
