"""What the process that works with the card is told, and what it says: each part of the work that begins, and
at last the report, or the error in its place."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Orders:
    """`device_index` counts cards from 0."""

    folder: Path
    device_index: int


@dataclass(frozen=True, slots=True)
class Begun:
    """`work` may take `deadline_s`."""

    work: str
    deadline_s: float
