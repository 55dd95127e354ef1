"""What shall go wrong on an emulated card, and when."""

import ctypes
import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from backends.emulator.refused import TASK_NOT_EXECUTED, Refused

Writing = Literal["engine_execute", "memcpy", "memset"]


@dataclass(slots=True)
class _Planned:
    call: str
    countdown: int
    happen: Callable[[], object]


class Faults:
    """Faults of calls are planned by the name of the call, those of the card by its round trips, whichever
    call makes them; `nth` counts from the moment of planning, 1 is the next."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []
        self._trips_left: int | None = None  # before the card is dead
        self._last_call: threading.Event | None = None
        self.garbled = False  # the call that is being made
        self._noise = random.Random(0)

    def fail(self, call: str, code: int, nth: int = 1) -> None:
        """The nth `call` answers `code`, given unsigned, and does nothing."""

        def refuse() -> None:
            raise Refused(code)

        self._planned.append(_Planned(call, nth, refuse))

    def hang(self, call: str, nth: int = 1) -> threading.Event:
        """The nth `call` blocks until the event is set, for ever if it never is, then goes on as usual."""
        released = threading.Event()
        self._planned.append(_Planned(call, nth, released.wait))
        return released

    def garble(self, call: Writing, nth: int = 1) -> None:
        """The nth `call` succeeds, but all that it has written is noise; the same noise in every run."""

        def garble() -> None:
            self.garbled = True

        self._planned.append(_Planned(call, nth, garble))

    def kill_process(self, call: str, nth: int = 1) -> None:
        """The nth `call` is as far as this process comes."""
        self._planned.append(_Planned(call, nth, lambda: os.kill(os.getpid(), signal.SIGKILL)))

    def kill_card(self, nth: int = 1) -> threading.Event:
        """The nth round trip hangs, all later ones answer 0x8030040C. A dead card wakes nobody: setting the
        event only lets a test have its thread back."""
        self._trips_left, self._last_call = nth - 1, threading.Event()
        return self._last_call

    def lose_card(self, nth: int = 1) -> None:
        """The nth round trip and all later ones answer 0x8030040C: the card is gone, and the driver has
        noticed while nobody was waiting for it. It stays in the device list."""
        self._trips_left, self._last_call = nth - 1, None

    def before_call(self, call: str) -> None:
        self.garbled = False
        for fault in self._planned:
            fault.countdown -= fault.call == call
        due = [fault for fault in self._planned if fault.countdown == 0]
        self._planned = [fault for fault in self._planned if fault.countdown > 0]
        for fault in due:
            fault.happen()

    def before_round_trip(self) -> None:
        if self._trips_left is None:
            return
        if self._trips_left:
            self._trips_left -= 1
            return
        hung, self._last_call = self._last_call, None
        if hung is not None:
            hung.wait()
        raise Refused(TASK_NOT_EXECUTED)

    def write_noise(self, host: int, num_bytes: int) -> None:
        """Over so many bytes at the host address `host`, which a garbled call has written."""
        ctypes.memmove(host, self._noise.randbytes(num_bytes), num_bytes)
