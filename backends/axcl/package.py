"""A model folder, as published for the card: which file is what.

File names are the only index such a folder has; what a graph can do is read from the graph itself, once it is
loaded.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.axcl import embeddings, hints
from backends.axcl.chip import wrong_chip
from backends.axcl.hints import Hint, check_layers, meant, read_config, read_hints
from backends.axcl.sampling import read_sampling
from backends.base import PackageError

LAYER = re.compile(r"(?P<prefix>.+?)(_p\d+)?_l(?P<index>\d{1,4})(_together)?\.axmodel")
POST = "*_post.axmodel"
EMBEDDINGS = embeddings.PATTERNS[0]
VISION = re.compile(r".*(vision|vit|image_encoder).*\.axmodel", re.IGNORECASE)
LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Package:
    """One model's files. `prefix` is the text model's type as the layer files spell it, e.g.
    qwen3_vl_text; `sampling` is what post_config.json says, see sampling.py."""

    folder: Path
    prefix: str
    layers: tuple[Path, ...]
    post: Path
    embeddings: Path
    vision: Path | None
    tokenizer: Path
    config: Mapping[str, Any]
    sampling: Mapping[str, float]

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def added_tokens(self) -> frozenset[str]:
        """Raises PackageError naming the file."""
        return added_tokens(self.tokenizer)

    @property
    def graphs(self) -> tuple[Path, ...]:
        return (*self.layers, self.post, *filter(None, [self.vision]))

    @property
    def graph_bytes(self) -> int:
        """What its graphs take on the device at least: as much as their files."""
        return sum(map(_size, self.graphs))

    @property
    def vision_bytes(self) -> int:
        """What its vision graph takes of them; 0 without one."""
        return 0 if self.vision is None else _size(self.vision)

    @property
    def load_bytes(self) -> int:
        """What the device must have free to load them one after the other: each file is on it as well for as
        long as it is loaded. So the largest come first: vision, post, layers."""
        sizes = [_size(graph) for graph in (*filter(None, [self.vision]), self.post, *self.layers)]
        return max(sum(sizes[:place]) + 2 * size for place, size in enumerate(sizes))

    @property
    def parts(self) -> Mapping[str, str]:
        """What was found, in words, by the name of the part."""
        return {
            "layers": f"{len(self.layers)} of {self.prefix}",
            "vision_graph": "none" if self.vision is None else self._place(self.vision),
            "embedding_table": self._place(self.embeddings),
            "tokenizer": self._place(self.tokenizer / "tokenizer.json"),
        }

    def _place(self, path: Path) -> str:
        return str(path.relative_to(self.folder))


def _size(file: Path) -> int:
    return file.stat().st_size


def added_tokens(tokenizer: Path) -> frozenset[str]:
    """What the tokenizer of a folder has tokens for that were added to its vocabulary. Raises PackageError
    naming the file."""
    path = tokenizer / "tokenizer.json"
    try:
        added = json.loads(path.read_text(encoding="utf-8"))["added_tokens"]
        return frozenset(token["content"] for token in added)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise PackageError(f"{path}: expected a Hugging Face tokenizer with added_tokens") from error


def open_package(folder: Path) -> Package:
    """Find the parts of a package; raises PackageError naming what is missing, broken, or there twice.

    The layers lie in the folder or in one inside it; the other parts lie with them, or else anywhere in the
    folder or one inside it.
    """
    if not folder.is_dir():
        raise PackageError(f"{folder} is not a folder with a compiled model")
    try:
        places = (folder, *sorted(filter(_may_hold_parts, folder.iterdir())))
    except OSError as reason:
        raise PackageError(f"{folder} cannot be read: {reason.strerror}") from None
    place = _layer_folder(places)
    places = (place, *(each for each in places if each != place))
    homes = (place, folder)  # not the tokenizer's, whose config.json is another one
    config = next((found for home in homes if (found := read_config(home))), {})
    check_layers(config)
    told = read_hints(config, folder)
    prefix, layers = _layers(place, told)
    package = Package(
        folder=folder,
        prefix=prefix,
        layers=layers,
        post=_one(places, told, hints.POST, "the post graph (final norm and head)", POST),
        embeddings=_one(places, told, hints.TABLE, "the embedding table", *embeddings.PATTERNS),
        vision=_vision(places, told),
        tokenizer=_tokenizer(homes, places, told),
        config=config,
        sampling=next((said for home in homes if (said := read_sampling(home / "post_config.json"))), {}),
    )
    for file in (*package.graphs, package.embeddings):
        _check_file(file)
        if chip := wrong_chip(file.name, file.parent.name, package.name):
            raise PackageError(f"{file} is compiled for the {chip}, which is not the chip of an AX650N card")
    _check_file(package.tokenizer / "tokenizer.json")
    return package


def _may_hold_parts(place: Path) -> bool:
    visible = place.name[0] != "." and place.is_dir()
    return visible and os.access(place, os.R_OK | os.X_OK, effective_ids=True)  # lost+found is not


def _layer_folder(places: Sequence[Path]) -> Path:
    found = [place for place in places if next(_layer_files(place), None)]
    found = [place for place in found if wrong_chip(place.name) is None] or found
    if not found:
        raise PackageError(f"{places[0]} holds no layer graphs (<prefix>_p<chunk>_l<i>_together.axmodel)")
    if places[0] not in found and len(found) > 1:
        names = ", ".join(place.name for place in found)
        raise PackageError(f"{places[0]} holds several packages: {names}; name the folder of one of them")
    return found[0]


def _layer_files(place: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for file in sorted(place.glob("*.axmodel")):
        if match := LAYER.fullmatch(file.name):
            yield file, match


def _layers(place: Path, told: Mapping[str, Hint]) -> tuple[str, tuple[Path, ...]]:
    matches = dict(_layer_files(place))
    found: dict[int, Path] = {}
    prefixes = set()
    twice = len({int(match["index"]) for match in matches.values()}) < len(matches)
    for file in meant(list(matches), told, hints.LAYERS) if twice else matches:
        other = found.setdefault(int(matches[file]["index"]), file)
        prefixes.add(matches[file]["prefix"])
        if len(prefixes) > 1:
            raise PackageError(f"{place} mixes layer graphs of several models: {', '.join(sorted(prefixes))}")
        if other is not file:
            raise PackageError(f"{place} holds two graphs of one layer: {other.name} and {file.name}")
    num_layers, source = max(found) + 1, ""
    said = told.get(hints.NUM_LAYERS)
    if said and re.fullmatch(r"\d{1,9}", said.value) and int(said.value) > num_layers:
        num_layers, source = int(said.value), f", and {said.source} says {said.value} in all"
    missing = next((index for index in range(num_layers) if index not in found), None)
    if missing is not None:
        raise PackageError(
            f"{place} lacks the graph of layer {missing} (there are {len(found)} others{source})"
        )
    return prefixes.pop(), tuple(found[index] for index in sorted(found))


def _one(places: Sequence[Path], told: Mapping[str, Hint], key: str, what: str, *patterns: str) -> Path:
    """The file like the first pattern that has any, in the first place that has any."""
    for pattern in patterns:
        files = _nearest(places, pattern)
        if len(files) == 1 or len(files := meant(files, told, key)) == 1:
            return files[0]
        if files:
            names = ", ".join(file.name for file in files)
            raise PackageError(f"{places[0]}: {len(files)} files match {pattern} ({names}), expected {what}")
    told_patterns = " or ".join(patterns)
    raise PackageError(f"{places[0]}: no file matches {told_patterns}, which should be {what}")


def _nearest(places: Sequence[Path], pattern: str) -> list[Path]:
    return next((files for place in places if (files := sorted(place.glob(pattern)))), [])


def _vision(places: Sequence[Path], told: Mapping[str, Hint]) -> Path | None:
    """Graphs for other chips do not count beside one for the card."""
    for place in places:
        graphs = [file for file in place.glob("*.axmodel") if VISION.fullmatch(file.name)]
        # A language model may have such a word in its name as well.
        files = sorted(file for file in graphs if not (LAYER.fullmatch(file.name) or file.match(POST)))
        files = [file for file in files if wrong_chip(file.name) is None] or files
        if len(files) == 1 or len(files := meant(files, told, *hints.VISION)) == 1:
            return files[0]
        if files:
            names = ", ".join(file.name for file in files)
            raise PackageError(
                f"{place} holds several vision graphs: {names}; keep one there, or say in config.json "
                f"which, as {hints.VISION[0]}"
            )
    return None


def _tokenizer(homes: Sequence[Path], places: Sequence[Path], told: Mapping[str, Hint]) -> Path:
    """The folder that holds it."""
    for home in homes:
        if (home / "tokenizer.json").is_file():
            return home
    folders = [place for place in places if (place / "tokenizer.json").is_file()]
    folders = meant(folders, told, hints.TOKENIZER)
    if not folders:
        raise PackageError(
            f"{places[0]} holds no tokenizer.json, neither at its top nor in a folder of its own"
        )
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise PackageError(f"{places[0]} holds several tokenizers: {names}; keep the model's own")
    return folders[0]


def _check_file(file: Path) -> None:
    if file.is_fifo():  # it would be waited for
        raise PackageError(f"{file} is a pipe, not a file")
    try:
        with file.open("rb") as stream:
            head = stream.read(len(LFS_POINTER))
    except OSError as reason:
        raise PackageError(f"{file} cannot be read: {reason.strerror}") from None
    if not head:
        raise PackageError(f"{file} is empty")
    if head == LFS_POINTER:
        raise PackageError(f"{file} is a Git LFS pointer, not the model: fetch it with `git lfs pull`")
