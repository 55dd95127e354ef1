"""What shall go wrong on an emulated card, and when."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from backends.emulator.refused import TASK_NOT_EXECUTED, Refused


@dataclass(slots=True)
class _Planned:
    call: str
    countdown: int
    happen: Callable[[], object]


class Faults:
    """Faults are planned by the name of a call; `nth` counts from the moment of planning, 1 is the next."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []
        self._last_call: threading.Event | None = None
        self._dead = False

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

    def kill_card(self) -> threading.Event:
        """The next round trip hangs, all later ones answer 0x8030040C. A dead card wakes nobody: setting the
        event only lets a test have its thread back."""
        self._last_call = threading.Event()
        return self._last_call

    def before_call(self, call: str) -> None:
        for fault in self._planned:
            fault.countdown -= fault.call == call
        due = [fault for fault in self._planned if fault.countdown == 0]
        self._planned = [fault for fault in self._planned if fault.countdown > 0]
        for fault in due:
            fault.happen()

    def before_round_trip(self) -> None:
        if self._last_call is not None:
            self._dead, hung, self._last_call = True, self._last_call, None
            hung.wait()
        if self._dead:
            raise Refused(TASK_NOT_EXECUTED)
