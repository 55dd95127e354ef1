"""What the process in which the checks are made says of each: that it begins, and what it found."""

from dataclasses import dataclass

from gateway.doctor.finding import Finding


@dataclass(frozen=True, slots=True)
class Begun:
    name: str


@dataclass(frozen=True, slots=True)
class Done:
    name: str
    finding: Finding
    seconds: float
