"""axcl.rt: version, devices and contexts."""

from typing import Any

from backends.emulator.refused import DEVICE_NONE_ACTIVE, DEVICE_NOT_ACTIVE, Refused
from backends.emulator.surface import (
    Calls,
    answers,
    no_list,
    no_name,
    no_pointer,
    pointer,
    ret_only,
    unsigned,
    zero,
)

VERSION = (3, 10, 2)
KIB = 1024


def _no_version(ret: int) -> tuple[int, int, int, int]:
    return 0, 0, 0, ret


def _no_properties(ret: int) -> tuple[dict[str, Any], int]:
    return {}, ret


class DeviceCalls(Calls):
    @answers(_no_version)
    def get_version(self) -> tuple[int, int, int, int]:
        return (*VERSION, 0)

    @answers(no_name)
    def get_soc_name(self) -> str | None:
        return "AX650N" if self._process.initialized else "UNKNOWN"

    @answers(ret_only)
    def set_device(self, device_id: int) -> int:
        self._process.open(self._process.find(unsigned(device_id, 32)))
        return 0

    @answers(ret_only)
    def reset_device(self, device_id: int) -> int:
        card = self._process.find(unsigned(device_id, 32))
        self._process.round_trip("reset_device")
        self._process.close(card)
        return 0

    @answers(zero)
    def get_device(self) -> tuple[int, int]:
        try:
            return self._process.bound_card().device_id, 0
        except Refused:
            raise Refused(DEVICE_NONE_ACTIVE) from None

    @answers(zero)
    def get_device_count(self) -> tuple[int, int]:
        return len(self._devices()), 0

    @answers(no_list)
    def get_device_list(self) -> tuple[list[int], int]:
        """Sorted; empty and still a success without a card or before `init`."""
        return self._devices(), 0

    @answers(ret_only)
    def synchronize_device(self) -> int:
        self._process.round_trip("synchronize_device")
        return 0

    @answers(_no_properties)
    def get_device_properties(self, device_id: int) -> tuple[dict[str, Any], int]:
        """V3.10 only. Opens and closes the device, so the thread is not bound to it any more afterwards."""
        card = self._process.find(unsigned(device_id, 32))
        self._process.open(card)
        self._process.round_trip("get_device_properties")
        properties = {
            "sw_version": list(b"V3.10.2 emulated".ljust(64, b"\0")),
            "uid": 0x6007080746221000 + card.device_id,
            "pci_domain": 0,
            "pci_bus_id": card.device_id,
            "pci_device_id": 0,
            "temperature": 45_000,  # milli-degrees C
            "total_mem_size": 968_356,  # KiB, as the other sizes
            "free_mem_size": 816_844,
            "total_cmm_size": card.memory.size // KIB,
            "free_cmm_size": card.memory.free_bytes // KIB,
            "cpu_loading": 0,
            "npu_loading": 0,
            "reserved": [0] * 32,
        }
        self._process.close(card)
        return properties, 0

    @answers(no_pointer)
    def create_context(self, device_id: int) -> tuple[int | None, int]:
        """Also binds the new context to the calling thread."""
        card = self._process.find(unsigned(device_id, 32))
        if card.num_users == 0:
            self._process.open(card)
        self._process.round_trip("create_context")
        context = self._process.contexts.new(card)
        self._process.bind(context)
        return context, 0

    @answers(ret_only)
    def destroy_context(self, context: int) -> int:
        handle = pointer(context)
        self._process.round_trip("destroy_context")
        self._process.destroy_context(handle)
        return 0

    @answers(ret_only)
    def set_current_context(self, context: int) -> int:
        self._process.bind(pointer(context))
        return 0

    @answers(no_pointer)
    def get_current_context(self) -> tuple[int | None, int]:
        return self._process.bound_context(), 0

    @answers(no_pointer)
    def get_default_context(self, device_id: int) -> tuple[int | None, int]:
        card = self._process.cards.get(unsigned(device_id, 32))
        if card is None or card.num_users == 0:
            raise Refused(DEVICE_NOT_ACTIVE)
        return card.default_context, 0

    def _devices(self) -> list[int]:
        return sorted(self._process.cards) if self._process.initialized else []
