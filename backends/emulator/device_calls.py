"""axcl.rt: devices and contexts."""

from backends.emulator.refused import DEVICE_NONE_ACTIVE, DEVICE_NOT_ACTIVE, Refused
from backends.emulator.surface import (
    Calls,
    answers,
    no_list,
    no_pointer,
    no_text,
    pointer,
    ret_only,
    unsigned,
    zero,
)


class DeviceCalls(Calls):
    @answers(no_text)
    def get_soc_name(self) -> str:
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
