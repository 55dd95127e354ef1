"""What the calls of one emulated card add up to; benchmarks print round trips and bytes from it."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """`after - before` is what happened in between, where `before` is an earlier `copy`.

    calls:       every call of the surface, by name
    round_trips: those of them that crossed PCIe; a memcpy counts as memcpy_h2d, memcpy_d2h or memcpy_d2d
    num_bytes:   what the round trips carried or touched, under the same names
    """

    calls: Counter[str] = field(default_factory=Counter)
    round_trips: Counter[str] = field(default_factory=Counter)
    num_bytes: Counter[str] = field(default_factory=Counter)

    def copy(self) -> "Counters":
        return Counters(self.calls.copy(), self.round_trips.copy(), self.num_bytes.copy())

    def __sub__(self, before: "Counters") -> "Counters":
        return Counters(
            self.calls - before.calls,
            self.round_trips - before.round_trips,
            self.num_bytes - before.num_bytes,
        )
