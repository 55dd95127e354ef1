"""Fetching the files of a plan into a package folder."""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from backends.axcl.embeddings import PATTERNS
from backends.axcl.package import LFS_POINTER, Package, open_package
from gateway.hub.errors import PullError
from gateway.hub.plan import CONFIGS, TOKENIZER_FILES, Plan, RemoteFile
from gateway.hub.source import Hub

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

UNFINISHED = ".pull"

Show = Callable[[str, int], None]
"""Told the name of the file at work, and how many of the plan's bytes are there."""


def pull(hub: Hub, plan: Plan, folder: Path, show: Show) -> Package:
    """Fetch what is missing in `folder`, check everything, and open the package.

    A file stands in its place only when its content is the hub's. What was begun waits in the folder `.pull`
    for the next call, which goes on from there. Raises PullError, before the first byte if the folder holds
    something else or the disk is too small; OSError of the disk; PackageError.
    """
    _check_strangers(folder, plan)
    there = {name for name in plan.files if (folder / name).exists()}
    done = 0
    for name in sorted(there):
        show(name, done)
        _check_there(folder / name, plan.files[name])
        done += plan.files[name].size
    begun = folder / UNFINISHED
    missing = {name: file for name, file in plan.files.items() if name not in there}
    _check_disk(folder, sum(file.size - _num_there(_partial(begun, file)) for file in missing.values()))
    if missing or begun.exists():
        with _alone(begun):
            _fetch_all(hub, missing, folder, lambda name, num_bytes: show(name, done + num_bytes))
            shutil.rmtree(begun)  # with what was begun of other revisions
    return open_package(folder)


@contextmanager
def _alone(begun: Path) -> Iterator[None]:
    """Raises PullError while another process fetches into the same folder."""
    begun.mkdir(parents=True, exist_ok=True)
    with (begun / "lock").open("a") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise PullError(f"Another axgate fetches into {begun.parent}; wait until it is done.") from None
        yield


def _fetch_all(hub: Hub, files: Mapping[str, RemoteFile], folder: Path, show: Show) -> None:
    done = 0
    for name, file in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        partial = _partial(folder / UNFINISHED, file)

        def grown(size: int, name: str = name, before: int = done) -> None:
            show(name, before + size)

        _fetch(hub, file, partial, grown)
        _check_fetched(partial, file)
        partial.rename(folder / name)
        done += file.size


def _fetch(hub: Hub, file: RemoteFile, partial: Path, grown: Callable[[int], None]) -> None:
    if _num_there(partial) > file.size:
        partial.unlink()
    num_there = _num_there(partial)
    grown(num_there)
    if num_there < file.size or file.size == 0:
        try:
            with _Growing(partial, file, grown) as target:
                hub.fetch(file, target, num_there)
        finally:
            if _num_there(partial) > file.size:
                partial.unlink()


class _Growing(BufferedWriter):
    """A file to append to, telling its length as it grows. Raises PullError where it grows too long."""

    def __init__(self, path: Path, file: RemoteFile, grown: Callable[[int], None]) -> None:
        super().__init__(FileIO(path, "ab"))
        self._file = file
        self._grown = grown

    def write(self, data: "ReadableBuffer") -> int:
        count = super().write(data)
        if self.tell() > self._file.size:  # before the disk is full of it
            raise PullError(
                f"{self._file.path} of {self._file.repository} goes on behind the {self._file.size} bytes "
                "that the hub lists; what was fetched of it is removed."
            )
        self._grown(self.tell())
        return count


def _partial(begun: Path, file: RemoteFile) -> Path:
    """Named by the content, so that what was begun of one revision never goes on with another."""
    return begun / (file.sha256 or file.blob_id)


def _num_there(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _check_strangers(folder: Path, plan: Plan) -> None:
    """What a package would be read with, and comes from somewhere else."""
    tokenizers = [place + name for place in ("", "tokenizer/") for name in TOKENIZER_FILES]
    for pattern in ("*.axmodel", *PATTERNS, *CONFIGS, *tokenizers):
        for path in folder.glob(pattern):
            name = str(path.relative_to(folder))
            if name not in plan.files:
                raise PullError(
                    f"{folder} holds {name}, which is no part of this package; "
                    "choose another place with --to."
                )


def _check_disk(folder: Path, need: int) -> None:
    place = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    if need > free:
        raise PullError(
            f"{decimal(need)} are still to be fetched into {folder}, and its disk has {decimal(free)} free; "
            "make room, or choose another place with --to."
        )


def _check_there(path: Path, file: RemoteFile) -> None:
    if not path.is_file() or _fault(path, file):
        raise PullError(
            f"{path} is already there and is not the {file.path} of {file.repository} at commit "
            f"{file.commit[:7]}; remove it, or choose another place with --to."
        )


def _check_fetched(partial: Path, file: RemoteFile) -> None:
    fault = _fault(partial, file)
    if _is_pointer(partial):
        fault = "is a Git LFS pointer, not the file itself"
    if fault:
        partial.unlink()
        raise PullError(f"{file.path} of {file.repository} {fault}; what was fetched of it is removed.")


def _fault(path: Path, file: RemoteFile) -> str | None:
    """What is wrong with a file's content, for a sentence that begins with its name."""
    size = path.stat().st_size
    if size != file.size:
        return f"came with {size} bytes, and the hub lists {file.size}"
    with path.open("rb") as stream:
        if file.sha256 is not None:
            kind, expected, found = "SHA-256", file.sha256, hashlib.file_digest(stream, "sha256")
        else:
            kind, expected = "git blob", file.blob_id
            found = hashlib.file_digest(stream, lambda: hashlib.sha1(b"blob %d\0" % size))
    if found.hexdigest() == expected:
        return None
    return f"came with the {kind} {found.hexdigest()}, and the hub lists {expected}"


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(LFS_POINTER)) == LFS_POINTER
