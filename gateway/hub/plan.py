"""From the list of a repository's files to those that one package needs. Pure: it asks nobody."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import PurePosixPath

from rich.filesize import decimal

from backends.axcl.chip import wrong_chip
from backends.axcl.package import EMBEDDINGS, LAYER, POST, VISION
from gateway.hub.errors import PullError

CONFIGS = ("config.json", "post_config.json")
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (
    TOKENIZER,
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
"""What is read of a tokenizer; only the first is indispensable."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file at one commit. `sha256` is known of files in LFS; `blob_id` is git's own name for the others'
    content."""

    repository: str
    commit: str
    path: str
    size: int
    blob_id: str
    sha256: str | None

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def folder(self) -> str:
        """`.` for the top of the repository."""
        return str(PurePosixPath(self.path).parent)


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of a repository at one commit."""

    repository: str
    commit: str
    files: tuple[RemoteFile, ...]

    def __iter__(self) -> Iterator[RemoteFile]:
        return iter(self.files)

    def inside(self, folder: str) -> list[RemoteFile]:
        """The files right in a folder."""
        return [file for file in self.files if file.folder == folder]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which one, where a repository holds several: the folder with the layers, the name of the vision graph,
    the folder of the tokenizer. None where there is but one. A `tokenizer` that is no folder of the
    repository is another repository."""

    folder: str | None = None
    vision: str | None = None
    tokenizer: str | None = None

    def other_repository(self, listing: Listing) -> str | None:
        """Where the tokenizer must be fetched from, if not from the repository of the package."""
        return None if self.tokenizer is None or listing.inside(self.tokenizer) else self.tokenizer


@dataclass(frozen=True, slots=True)
class Plan:
    """The files a package needs, by where they will lie in its folder: a package is flat, with the tokenizer
    in a folder of its own."""

    files: Mapping[str, RemoteFile]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


def make_plan(listing: Listing, choice: Choice, other: Listing | None) -> Plan:
    """`other` lists the tokenizer's repository where it is another one. Raises PullError: nothing for this
    chip, a part missing, or several of what must be one, which it lists with their sizes."""
    folder = _folder(listing, choice.folder)
    parts = [*_layers(listing, folder), _one(listing, folder, POST), _one(listing, folder, EMBEDDINGS)]
    parts += _vision(listing, folder, choice.vision)
    parts += [found[0] for name in CONFIGS if (found := _nearest(listing, folder, name))]
    files = {part.name: part for part in parts}
    return Plan(files | _tokenizer(listing, folder, choice.tokenizer, other))


def _folder(listing: Listing, wanted: str | None) -> str:
    """The folder with the layer graphs."""
    sizes: dict[str, int] = {}
    for file in listing:
        if LAYER.fullmatch(file.name):
            sizes[file.folder] = sum(each.size for each in listing.inside(file.folder))
    if not sizes:
        raise PullError(
            f"{listing.repository} holds no package: none of its files is named like a layer graph "
            "(<prefix>_p<chunk>_l<i>_together.axmodel)."
        )
    chips = {folder: wrong_chip(folder, listing.repository) for folder in sizes}
    right = {folder: size for folder, size in sizes.items() if chips[folder] is None}
    if not right:
        raise PullError(
            f"{listing.repository} is compiled for "
            f"{', '.join(sorted({chip for chip in chips.values() if chip}))}, which an AX650N cannot run."
        )
    if wanted is not None:
        wanted = str(PurePosixPath(wanted))
        if wanted not in right:
            raise PullError(
                f"{listing.repository} holds no layer graphs for an AX650N in {wanted}; it does in: "
                f"{_told(right.items())}."
            )
        return wanted
    if len(right) > 1:
        raise PullError(
            f"{listing.repository} holds several packages; choose one with --folder: {_told(right.items())}."
        )
    return right.popitem()[0]


def _layers(listing: Listing, folder: str) -> list[RemoteFile]:
    graphs: dict[int, RemoteFile] = {}
    for file in listing.inside(folder):
        if match := LAYER.fullmatch(file.name):
            other = graphs.setdefault(int(match["index"]), file)
            if other is not file:
                raise PullError(
                    f"{_place(listing, folder)} mixes layer graphs of several models: {other.name} and "
                    f"{file.name}."
                )
    missing = set(range(max(graphs) + 1)) - set(graphs)
    if missing:
        raise PullError(
            f"{_place(listing, folder)} lacks the graph of layer {min(missing)} "
            f"(there are {len(graphs)} others)."
        )
    return [graphs[index] for index in sorted(graphs)]


def _one(listing: Listing, folder: str, pattern: str) -> RemoteFile:
    found = _nearest(listing, folder, pattern)
    if len(found) != 1:
        told = f"several: {_told((file.name, file.size) for file in found)}" if found else "none"
        raise PullError(
            f"{_place(listing, folder)} should hold one file like {pattern}, but there are {told}."
        )
    return found[0]


def _nearest(listing: Listing, folder: str, pattern: str) -> list[RemoteFile]:
    """The files like `pattern` in the folder, else in the folder around it, and so on."""
    for place in (folder, *map(str, PurePosixPath(folder).parents)):
        if found := [file for file in listing.inside(place) if fnmatchcase(file.name, pattern)]:
            return found
    return []


def _vision(listing: Listing, folder: str, wanted: str | None) -> list[RemoteFile]:
    """The vision graph, in the folder or in another one without layers; empty for a text model."""
    with_layers = {file.folder for file in listing if LAYER.fullmatch(file.name)} - {folder}
    graphs = [
        file
        for file in listing
        if VISION.fullmatch(file.name)
        and file.folder not in with_layers
        and wrong_chip(file.path, listing.repository) is None
    ]
    found = _closest([file for file in graphs if wanted in (None, file.name)], folder)
    if len(found) > 1:
        raise PullError(
            f"{listing.repository} holds several vision graphs; choose one with --vision: "
            f"{_told((file.name, file.size) for file in found)}."
        )
    if wanted is not None and not found:
        told = _told((file.name, file.size) for file in graphs) or "none"
        raise PullError(f"{listing.repository} holds no vision graph {wanted}; there is: {told}.")
    return found


def _tokenizer(
    listing: Listing, folder: str, wanted: str | None, other: Listing | None
) -> dict[str, RemoteFile]:
    source, place = (listing, wanted) if other is None else (other, ".")
    if place is None:
        place = _tokenizer_folder(listing, folder)
    files = [file for file in source.inside(place) if file.name in TOKENIZER_FILES]
    if TOKENIZER not in [file.name for file in files]:
        raise PullError(f"{_place(source, place)} holds no {TOKENIZER}.")
    inside = other is None and place == folder
    return {file.name if inside else f"tokenizer/{file.name}": file for file in files}


def _tokenizer_folder(listing: Listing, folder: str) -> str:
    found = _closest([file for file in listing if file.name == TOKENIZER], folder)
    if not found:
        raise PullError(
            f"{listing.repository} holds no {TOKENIZER}; name the repository of the original model with "
            "--tokenizer, such as Qwen/Qwen3-4B."
        )
    if len(found) > 1:
        raise PullError(
            f"{listing.repository} holds several tokenizers; choose one with --tokenizer: "
            f"{', '.join(file.folder for file in found)}."
        )
    return found[0].folder


def _closest(files: Sequence[RemoteFile], folder: str) -> list[RemoteFile]:
    """Those in the folder; without any, those with which it shares most of its path."""

    def distance(file: RemoteFile) -> tuple[bool, int]:
        pairs = zip(_parts(file.folder), _parts(folder), strict=False)
        return file.folder != folder, -len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

    nearest = min(map(distance, files), default=None)
    return [file for file in files if distance(file) == nearest]


def _parts(folder: str) -> tuple[str, ...]:
    return PurePosixPath(folder).parts


def _place(listing: Listing, folder: str) -> str:
    return listing.repository if folder == "." else f"{listing.repository}/{folder}"


def _told(sizes: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} ({decimal(size)})" for name, size in sorted(sizes))
