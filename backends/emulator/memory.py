"""The card's memory: physical addresses over one host mapping that costs nothing until it is written."""

import bisect
import ctypes
import mmap

from backends.emulator.refused import MEMORY_EXHAUSTED, NOT_DEVICE_MEMORY, Refused

BASE = 0x1_4800_0000  # where the CMM of the vendor's samples starts
PAGE = 4096
POISON = 0xFF  # a NaN in every float format: memory that was never written does not go unnoticed
MAP_NORESERVE = 0x4000  # Linux; the mmap module names it from Python 3.13 on


class Cmm:
    """First-fit pages out of `size` bytes. Neighbours in address are neighbours in fact: like the card's DMA,
    a copy that runs over the end of its allocation lands in the next one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._arena = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
        self._first_byte = ctypes.c_char.from_buffer(self._arena)
        self._shift = ctypes.addressof(self._first_byte) - BASE
        self._starts: list[int] = []
        self._sizes: dict[int, int] = {}

    @property
    def free_bytes(self) -> int:
        return self.size - self.used

    def reserve(self, num_bytes: int) -> int:
        """The address of enough pages for `num_bytes`, untouched; refused when no gap is large enough."""
        pages = max(1, -(-num_bytes // PAGE)) * PAGE
        start = self._first_gap(pages)
        bisect.insort(self._starts, start)
        self._sizes[start] = pages
        self.used += pages
        return start

    def malloc(self, num_bytes: int) -> int:
        """As `reserve`, filled with what nobody should rely on."""
        start = self.reserve(num_bytes)
        ctypes.memset(start + self._shift, POISON, self._sizes[start])
        return start

    def free(self, address: int) -> None:
        """Only what `malloc` and `reserve` gave; the host gets its pages back."""
        if address not in self._sizes:
            raise Refused(NOT_DEVICE_MEMORY)
        num_bytes = self._sizes.pop(address)
        self._starts.remove(address)
        self.used -= num_bytes
        self._arena.madvise(mmap.MADV_DONTNEED, address - BASE, num_bytes)

    def free_all(self) -> None:
        for address in tuple(self._starts):
            self.free(address)

    def host(self, address: int, num_bytes: int) -> int:
        """Where `address` really is. It has to lie in an allocation; how far `num_bytes` reach from there is
        checked against the end of memory only."""
        position = bisect.bisect_right(self._starts, address) - 1
        if position < 0 or address >= self._starts[position] + self._sizes[self._starts[position]]:
            raise Refused(NOT_DEVICE_MEMORY)
        if address + num_bytes > BASE + self.size:
            raise Refused(NOT_DEVICE_MEMORY)
        return address + self._shift

    def _first_gap(self, num_bytes: int) -> int:
        end = BASE
        for start in self._starts:
            if start - end >= num_bytes:
                return end
            end = start + self._sizes[start]
        if BASE + self.size - end < num_bytes:
            raise Refused(MEMORY_EXHAUSTED)
        return end
