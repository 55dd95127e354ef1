"""The JSON files of a tokenizer folder."""

import json
from pathlib import Path
from typing import Any

from backends.base import PackageError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty when there is no such file, for not every model comes with every file.
    Raises PackageError naming a file that holds something else."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PackageError(f"{path}: expected JSON: {error}") from error
    if not isinstance(value, dict):
        raise PackageError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
