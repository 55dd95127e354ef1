"""Loading a graph onto a card, which does not always say so when it is full."""

from pathlib import Path

from backends.axcl import codes
from backends.axcl.handles import Model
from backends.axcl.rt import Runtime
from backends.base import DeviceError, DeviceMemoryError, PackageError

AXCL = 0x30  # what bits 16 to 23 of AXCL's own codes are (axcl_base.h)
MEMORY, NO_MEMORY = 0x05, 0x07  # its part for memory, and what all parts say of too little
SDK_NO_MEMORY = (0x18, 0x19)  # AX_ERR_NOMEM and AX_ERR_NOBUF of the card's own SDK (ax_base_type.h)


def load(runtime: Runtime, path: Path) -> Model:
    """As Runtime.load. DeviceMemoryError is also raised for whatever other code a full card answers with: one
    that names memory, or any where less is free than loading takes, which is the file and what is made of it.
    PackageError is also raised where the card took the file, and what it says of it is not right."""
    try:
        return runtime.load(path)
    except DeviceMemoryError:
        raise
    except DeviceError as reason:
        if reason.code == codes.SUCCESS:
            raise PackageError(f"{path.name}: {reason.detail}") from None
        free_bytes, needed_bytes = runtime.free_bytes, 2 * path.stat().st_size
        if not _names_memory(reason.code) and (free_bytes is None or needed_bytes <= free_bytes):
            raise
        told = f"to load it takes {needed_bytes / 1e6:.1f} MB"
        if free_bytes is not None:
            told += f", and {max(free_bytes, 0) / 1e6:.1f} MB should be free"
        raise DeviceMemoryError(reason.call, reason.code, f"out of card memory (CMM): {told}") from None


def _names_memory(code: int) -> bool:
    part, number = code >> 8 & 0xFF, code & 0xFF
    if code == codes.BINDING_FAILED:
        return False
    if code >> 16 & 0xFF != AXCL:
        return number in SDK_NO_MEMORY
    return number == NO_MEMORY or part == MEMORY
