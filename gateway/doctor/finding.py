"""What a check found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "warning", "failed", "skipped"]
Number = str | int | float | bool | None
Numbers = Mapping[str, Number | list[Number]]


@dataclass(frozen=True, slots=True)
class Finding:
    """`found` is a sentence with the numbers in it, `cure` one of what helps where something is wrong.

    numbers: the same for programs; names carry the unit
    """

    status: Status
    found: str
    cure: str = ""
    numbers: Numbers = field(default_factory=dict)


def fine(found: str, **numbers: Number | list[Number]) -> Finding:
    return Finding("ok", found, numbers=numbers)


def warning(found: str, cure: str, **numbers: Number | list[Number]) -> Finding:
    return Finding("warning", found, cure, numbers)


def failed(found: str, cure: str, **numbers: Number | list[Number]) -> Finding:
    return Finding("failed", found, cure, numbers)


def skipped(found: str) -> Finding:
    return Finding("skipped", found)
