"""axcl.rt: memory of the card and copies to, from and on it."""

import ctypes

from backends.emulator.refused import MEMORY_EXHAUSTED, MEMORY_UNSUPPORTED, Refused
from backends.emulator.surface import Calls, answers, no_pointer, pointer, ret_only, unsigned

# AXCL_MEMCPY_*
HOST_TO_HOST, HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = range(4)
ROUND_TRIPS = {HOST_TO_DEVICE: "memcpy_h2d", DEVICE_TO_HOST: "memcpy_d2h", DEVICE_TO_DEVICE: "memcpy_d2d"}


class MemoryCalls(Calls):
    @answers(no_pointer)
    def malloc(self, size: int, policy: int) -> tuple[int | None, int]:
        """Whole pages, contents undefined; `policy` makes no difference."""
        num_bytes, _ = _size(size), unsigned(policy, 32)
        card = self._process.reach_card("malloc")
        if not num_bytes:
            raise Refused(MEMORY_EXHAUSTED)
        return card.memory.malloc(num_bytes), 0

    @answers(ret_only)
    def free(self, dev_ptr: int) -> int:
        address = pointer(dev_ptr)
        self._process.reach_card("free").memory.free(address)
        return 0

    @answers(ret_only)
    def memset(self, dev_ptr: int, value: int, count: int) -> int:
        address, byte, num_bytes = pointer(dev_ptr), unsigned(value, 8), _size(count)
        card = self._process.reach_card("memset", num_bytes)
        host = card.memory.host(address, num_bytes)
        ctypes.memset(host, byte, num_bytes)
        if self._process.faults.garbled:
            self._process.faults.write_noise(host, num_bytes)
        return 0

    @answers(ret_only)
    def memcpy(self, dst_ptr: int, src_ptr: int, count: int, kind: int) -> int:
        """Not checked against the bounds of allocations: too long a copy ruins the neighbours."""
        destination, source, direction = pointer(dst_ptr), pointer(src_ptr), unsigned(kind, 32)
        num_bytes = _size(count)
        if direction == HOST_TO_HOST:
            ctypes.memmove(destination, source, unsigned(count, 64))
            return 0
        if direction not in ROUND_TRIPS:
            raise Refused(MEMORY_UNSUPPORTED)
        memory = self._process.reach_card(ROUND_TRIPS[direction], num_bytes).memory
        if direction != HOST_TO_DEVICE:
            source = memory.host(source, num_bytes)
        if direction != DEVICE_TO_HOST:
            destination = memory.host(destination, num_bytes)
        ctypes.memmove(destination, source, num_bytes)
        if self._process.faults.garbled:
            self._process.faults.write_noise(destination, num_bytes)
        return 0

    @answers(ret_only)
    def memcmp(self, dev_ptr1: int, dev_ptr2: int, count: int) -> int:
        """0 when equal, compared on the card."""
        first, second, num_bytes = pointer(dev_ptr1), pointer(dev_ptr2), _size(count)
        memory = self._process.reach_card("memcmp", num_bytes).memory
        ours = ctypes.string_at(memory.host(first, num_bytes), num_bytes)
        theirs = ctypes.string_at(memory.host(second, num_bytes), num_bytes)
        return (ours > theirs) - (ours < theirs)


def _size(value: object) -> int:
    """Sizes are packed into 32 bits on their way to the card."""
    return unsigned(value, 32)
