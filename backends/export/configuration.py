"""JSON configuration files of a checkpoint, read field by field with errors that name the field."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.export.errors import ExportError

Json = Any  # whatever json.loads returns

Colour = tuple[float, float, float]
"""One number each for red, green and blue."""


@dataclass(frozen=True, slots=True)
class Section:
    """One JSON object; every getter raises ExportError with file, field, what was expected and found.

    `path` is where the object stands in the file, as error messages write it, e.g. "text_config.".
    A field that is null counts as absent.
    """

    file: Path
    path: str
    values: Mapping[str, Json]

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def section(self, key: str) -> "Section":
        values = self._get(key, None)
        self.check(isinstance(values, dict), key, "an object")
        return Section(self.file, f"{self.path}{key}.", values)

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._get(key, default)
        self.check(type(value) is int and value > 0, key, "a positive integer")
        return int(value)

    def integers(self, key: str) -> tuple[int, ...]:
        values = self._get(key, None)
        self.check(_is_list(values, int) and min(values, default=0) >= 0, key, "a list of integers from 0")
        return tuple(values)

    def number(self, key: str, default: float | None = None) -> float:
        value = self._get(key, default)
        # The limits leave out Infinity, NaN, which Python's JSON knows, and integers that are no float.
        self.check(type(value) in (int, float) and abs(value) <= sys.float_info.max, key, "a number")
        return float(value)

    def colour(self, key: str, default: float | Colour) -> Colour:
        """A default of one number is that of all three."""
        values = self._get(key, [default] * 3 if isinstance(default, float) else list(default))
        self.check(_is_list(values, int, float) and len(values) == 3, key, "a list of three numbers")
        red, green, blue = values
        return float(red), float(green), float(blue)

    def text(self, key: str) -> str:
        value = self._get(key, None)
        self.check(isinstance(value, str), key, "a string")
        return str(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        self.check(type(value) is bool, key, "true or false")
        return bool(value)

    def require(self, key: str, expected: Json, default: Json = None) -> None:
        """Refuse a checkpoint that asks for something these graphs do not compute."""
        self.check(self._get(key, default) == expected, key, json.dumps(expected))

    def check(self, passed: bool, key: str, expected: str) -> None:
        """Raise ExportError about the field `key` unless `passed`."""
        if not passed:
            found = json.dumps(self.values[key]) if key in self.values else "nothing"
            raise ExportError(f"{self.file}: {self.path}{key}: expected {expected}, found {found}")

    def _get(self, key: str, default: Json) -> Json:
        value = self.values.get(key)
        return default if value is None else value


def _is_list(values: Json, *kinds: type) -> bool:
    return isinstance(values, list) and all(type(value) in kinds for value in values)


def read_json(file: Path) -> Section:
    """Raises ExportError when `file` is missing or is not a JSON object."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{file}: expected a JSON file, found: {error}") from error
    if not isinstance(values, dict):
        raise ExportError(f"{file}: expected a JSON object, found {type(values).__name__}")
    return Section(file, "", values)


def read_json_if_there(file: Path) -> Section:
    """As `read_json`, but a missing file reads as an object without fields."""
    return read_json(file) if file.exists() else Section(file, "", {})
