"""A model folder, as published for the card: which file is what.

File names are the only index such a folder has; what a graph can do is read from the graph itself, once it is
loaded.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.base import PackageError

_LAYER = re.compile(r"(?P<prefix>.+?)(_p\d+)?_l(?P<index>\d+)(_together)?\.axmodel")
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Package:
    """One model's files. `prefix` is the text model's type as the layer files spell it, e.g.
    qwen3_vl_text."""

    folder: Path
    prefix: str
    layers: tuple[Path, ...]
    post: Path
    embeddings: Path
    vision: Path | None
    tokenizer: Path
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.folder.resolve().name


def open_package(folder: Path) -> Package:
    """Find the parts of a package; raises PackageError naming what is missing or broken."""
    if not folder.is_dir():
        raise PackageError(f"{folder} is not a folder with a compiled model")
    prefix, layers = _layers(folder)
    package = Package(
        folder=folder,
        prefix=prefix,
        layers=layers,
        post=_one(folder, "*_post.axmodel", "the post graph (final norm and head)"),
        embeddings=_one(folder, "*embed_tokens*.bfloat16.bin", "the embedding table"),
        vision=_vision(folder),
        tokenizer=_tokenizer(folder),
        config=_config(folder),
    )
    for file in (*package.layers, package.post, package.embeddings, *filter(None, [package.vision])):
        _check_file(file)
    return package


def _layers(folder: Path) -> tuple[str, tuple[Path, ...]]:
    found: dict[int, Path] = {}
    prefixes = set()
    for file in folder.glob("*.axmodel"):
        if match := _LAYER.fullmatch(file.name):
            found[int(match["index"])] = file
            prefixes.add(match["prefix"])
    if not found:
        raise PackageError(f"{folder} holds no layer graphs (<prefix>_p<chunk>_l<i>_together.axmodel)")
    if len(prefixes) > 1:
        raise PackageError(f"{folder} mixes layer graphs of several models: {', '.join(sorted(prefixes))}")
    missing = sorted(set(range(max(found) + 1)) - set(found))
    if missing:
        raise PackageError(f"{folder} lacks the graph of layer {missing[0]} (there are {len(found)} others)")
    return prefixes.pop(), tuple(found[index] for index in sorted(found))


def _one(folder: Path, pattern: str, what: str) -> Path:
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        found = f"{len(files)} files match" if files else "no file matches"
        raise PackageError(f"{folder}: {found} {pattern}, which should be {what}")
    return files[0]


def _vision(folder: Path) -> Path | None:
    files = sorted(
        file for file in folder.glob("*.axmodel") if re.search("vision|vit", file.stem, re.IGNORECASE)
    )
    if len(files) > 1:
        raise PackageError(f"{folder} holds several vision graphs: {', '.join(file.name for file in files)}")
    return files[0] if files else None


def _tokenizer(folder: Path) -> Path:
    for file in (folder / "tokenizer.json", *sorted(folder.glob("*/tokenizer.json"))):
        if file.is_file():
            return file.parent
    raise PackageError(f"{folder} holds no tokenizer.json, neither at its top nor in a folder of its own")


def _config(folder: Path) -> Mapping[str, Any]:
    """`config.json` where it says something: half the published ones are empty."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _check_file(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            head = stream.read(len(_LFS_POINTER))
    except OSError as reason:
        raise PackageError(f"{file} cannot be read: {reason.strerror}") from None
    if not head:
        raise PackageError(f"{file} is empty")
    if head == _LFS_POINTER:
        raise PackageError(f"{file} is a Git LFS pointer, not the model: fetch it with `git lfs pull`")
