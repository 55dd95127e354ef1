"""What libaxcl_rt keeps for one process: the cards, who is bound to which, and every handle it gave out."""

import threading
from collections.abc import Iterable

from backends.emulator.card import Card
from backends.emulator.clock import Clock
from backends.emulator.counters import Counters
from backends.emulator.faults import Faults
from backends.emulator.handles import Handles
from backends.emulator.io import Io
from backends.emulator.model import Model
from backends.emulator.refused import (
    CONTEXT_DESTROY,
    CONTEXT_NOT_BOUND,
    DEVICE_INVALID_ID,
    DEVICE_NOT_ACTIVE,
    Refused,
)


class _Thread(threading.local):
    """What the library keeps for one thread."""

    context = 0  # none


class Process:
    """Binding is per thread, everything else per process.

    A card is open while `set_device`, and a `create_context` that found it closed, outnumber `reset_device`
    (`device_manager.cpp` and `axcl_context.cpp` of axcl-runtime@6b4dbca). Handles of the engine live on the
    host: they outlast their model and the card.
    """

    def __init__(self, devices: Iterable[int], cmm_bytes: int, clock: Clock) -> None:
        self.cards = {device_id: Card(device_id, cmm_bytes) for device_id in devices}
        self.initialized = False
        self.clock = clock
        self.counters = Counters()
        self.faults = Faults()
        self.contexts = Handles[Card]("context", 0x5510_0000_0010)
        self.io_infos = Handles[Model]("io_info", 0x5520_0000_0010)
        self.ios = Handles[Io]("io", 0x5530_0000_0010)
        self._thread = _Thread()

    def enter(self, call: str) -> None:
        """Every call of the surface begins here."""
        self.counters.calls[call] += 1
        self.faults.before_call(call)

    def round_trip(self, name: str, num_bytes: int = 0) -> None:
        """A message to a card and its answer."""
        self.counters.round_trips[name] += 1
        if num_bytes:
            self.counters.num_bytes[name] += num_bytes
        self.clock.round_trip(name, num_bytes)
        self.faults.before_round_trip()

    def reach_card(self, name: str, num_bytes: int = 0) -> Card:
        """The card this thread is bound to, at the price of the round trip that the call makes."""
        card = self.bound_card()
        self.round_trip(name, num_bytes)
        return card

    def find(self, device_id: int) -> Card:
        if not self.initialized or device_id not in self.cards:
            raise Refused(DEVICE_INVALID_ID)
        return self.cards[device_id]

    def open(self, card: Card) -> None:
        """One user more; the first one gets the card's default context made."""
        if card.num_users == 0:
            self.round_trip("set_device")
            card.default_context = self.contexts.new(card)
        card.num_users += 1
        self.bind(card.default_context)

    def close(self, card: Card) -> None:
        """One user less; with the last one goes everything that is still on the card."""
        if card.num_users == 0:
            raise Refused(DEVICE_NOT_ACTIVE)
        card.num_users -= 1
        self._thread.context = 0
        if card.num_users == 0:
            self._forget(card)

    def end(self) -> None:
        for card in self.cards.values():
            self._forget(card)
        self.initialized = False

    def bind(self, context: int) -> None:
        """Bind the calling thread to `context`."""
        self._thread.context = self.contexts.known(context)

    def bound_context(self) -> int:
        """The context of the calling thread, unless somebody destroyed it."""
        if self._thread.context not in self.contexts:
            raise Refused(CONTEXT_NOT_BOUND)
        return self._thread.context

    def bound_card(self) -> Card:
        return self.contexts[self.bound_context()]

    def destroy_context(self, context: int) -> None:
        if context == self.contexts[context].default_context:
            raise Refused(CONTEXT_DESTROY)
        self.contexts.destroy(context)

    def _forget(self, card: Card) -> None:
        card.release()
        self.contexts.destroy_all(card)
