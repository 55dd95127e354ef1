"""How long the calls of an emulated card take."""

import math
from time import perf_counter, sleep
from typing import Literal

from backends.emulator.model import Group
from backends.emulator.recorded import Recorded

ClockKind = Literal["compute", "smolvlm-256m", "internvl3-1b", "qwen3-vl-2b", "qwen3-vl-4b"]
"""As long as this machine computes, or as long as was recorded of a card with this model."""

UP = ("memcpy_h2d", "engine_load_from_file")
DOWN = ("memcpy_d2h",)


class Clock:
    """The compute clock: a call takes as long as it takes."""

    def round_trip(self, name: str, num_bytes: int) -> None:
        """A call crosses PCIe with so many bytes."""

    def execute(self, group: Group, num_layers: int) -> None:
        """The NPU runs a graph; `num_layers` are how many layer graphs the card has."""

    def answer(self) -> None:
        """A call is about to return."""


class RecordedClock(Clock):
    """Time that does not pass but is added up: `elapsed_ms` is what all calls so far would have taken on a
    card with the recorded model. The same calls make the same time.

    A model with another number of layers takes the time of all recorded layers, with the round trips that it
    does not make.
    """

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self.elapsed_ms = 0.0

    def round_trip(self, name: str, num_bytes: int) -> None:
        link = self.recorded.link
        self._pass(link.round_trip_ms)
        if name in UP:
            self._pass(link.up_ms(num_bytes))
        if name in DOWN:
            self._pass(link.down_ms(num_bytes))

    def execute(self, group: Group, num_layers: int) -> None:
        shapes = {tensor.name: tensor.shape for tensor in group.inputs}
        if group.is_layer:
            chunk = shapes["indices"][-1]
            share, trip = self.recorded.num_layers / num_layers, self.recorded.link.round_trip_ms
            layer_ms = self.recorded.layer_ms(chunk, math.prod(shapes["mask"]) // chunk - chunk)
            self._pass(share * (trip + layer_ms) - trip)
        else:
            self._pass(self.recorded.head_ms if group.is_head else self.recorded.vision_ms)

    def _pass(self, ms: float) -> None:
        self.elapsed_ms += ms


class WaitingClock(RecordedClock):
    """The recorded time, waited for: a call returns when the card would have answered, or as soon as this
    machine is done where it is slower than the card."""

    def __init__(self, recorded: Recorded) -> None:
        super().__init__(recorded)
        self._due: float | None = None
        self._overslept = 0.0  # by the call before, which this one makes up for

    def answer(self) -> None:
        if self._due is None:
            return
        due, self._due = self._due - self._overslept, None
        now = perf_counter()
        if now < due:
            sleep(due - now)
            self._overslept = perf_counter() - due
        else:
            self._overslept = min(self._overslept, now - due)

    def _pass(self, ms: float) -> None:
        super()._pass(ms)
        self._due = (perf_counter() if self._due is None else self._due) + ms / 1000


def open_clock(kind: ClockKind) -> Clock:
    """A clock for serving."""
    return Clock() if kind == "compute" else WaitingClock(Recorded.load(kind))
