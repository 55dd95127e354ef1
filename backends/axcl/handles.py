"""What the wall hands out: device memory, and loaded graphs."""

from dataclasses import dataclass
from operator import index
from pathlib import Path

from backends.base import TensorSpec

PAGE = 4096


@dataclass(frozen=True, slots=True)
class Buffer:
    """`size` bytes of device memory from `address` on."""

    address: int
    size: int

    def part(self, offset: int, size: int) -> "Buffer":
        """A view; raises IndexError where it would leave the buffer (the runtime would not notice)."""
        offset, size = index(offset), index(size)  # an address that is a numpy integer is none to pyAXCL
        if offset < 0 or size < 0 or offset + size > self.size:
            raise IndexError(f"bytes {offset}..{offset + size} of a device buffer of {self.size}")
        return Buffer(self.address + offset, size)


@dataclass(frozen=True, slots=True)
class Group:
    """One compiled static shape: its tensors in index order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded graph: handles for the runtime, and its groups."""

    path: Path
    size: int  # of the file, in bytes
    id: int
    context: int
    info: int
    groups: tuple[Group, ...]


def pages(size: int) -> int:
    """Bytes the card takes for `size` bytes: it allocates whole pages."""
    return -(-size // PAGE) * PAGE
