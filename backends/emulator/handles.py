"""Handles of libaxcl_rt: raw C pointers, which nobody checks."""

import itertools
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class SegmentationFault(Exception):
    """A handle that was never given out, or is destroyed. With a card the process would be gone, so no
    convention of pyAXCL hides this exception."""


class Handles(Generic[Thing]):
    """Things of one kind by the pointer that stands for them, never the same twice."""

    def __init__(self, kind: str, first: int) -> None:
        self._kind = kind
        self._things: dict[int, Thing] = {}
        self._pointers = itertools.count(first, 0x40)

    def new(self, thing: Thing) -> int:
        pointer = next(self._pointers)
        self._things[pointer] = thing
        return pointer

    def __contains__(self, pointer: int) -> bool:
        return pointer in self._things

    def __getitem__(self, pointer: int) -> Thing:
        return self._things[self.known(pointer)]

    def known(self, pointer: int) -> int:
        """`pointer` itself; raises SegmentationFault unless something stands behind it."""
        if pointer not in self._things:
            raise SegmentationFault(f"{self._kind} 0x{pointer:X}")
        return pointer

    def destroy(self, pointer: int) -> None:
        del self._things[self.known(pointer)]

    def destroy_all(self, thing: Thing) -> None:
        """Every handle of `thing`."""
        self._things = {pointer: other for pointer, other in self._things.items() if other is not thing}
