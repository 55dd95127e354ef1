"""What the process in which the checks are made says of each, that it begins, and what it found; and what a
process is told, and says, that is to die on the card."""

from dataclasses import dataclass
from typing import Literal

from gateway.doctor.finding import Finding
from gateway.doctor.patient import Orders


@dataclass(frozen=True, slots=True)
class Begun:
    name: str


@dataclass(frozen=True, slots=True)
class Done:
    name: str
    finding: Finding
    seconds: float


@dataclass(frozen=True, slots=True)
class Deed:
    orders: Orders
    kind: Literal["work", "fill"]


@dataclass(frozen=True, slots=True)
class Filled:
    """So much could be taken, and with these words there was no more."""

    num_bytes: int
    words: str


@dataclass(frozen=True, slots=True)
class Worked:
    pass


@dataclass(frozen=True, slots=True)
class Refused:
    words: str
