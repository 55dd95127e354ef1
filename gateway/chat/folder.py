"""The files of a tokenizer folder."""

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


def read_template(folder: Path) -> tuple[Path, str]:
    """The file that holds the template, newest custom first, and the template."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path, path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PackageError(f"{path}: expected text: {error}") from error
    for name in ("chat_template.json", "tokenizer_config.json"):
        source = read_json(folder / name).get("chat_template")
        if isinstance(source, str):
            return folder / name, source
    raise PackageError(
        f"{folder}: expected chat_template.jinja, or chat_template in chat_template.json or "
        "tokenizer_config.json"
    )
