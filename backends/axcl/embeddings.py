"""The embedding table: one row for each token, left on disk and paged in as rows are used."""

from pathlib import Path

import numpy as np

from backends.base import Array, PackageError

PATTERNS = ("*embed_tokens*.bfloat16.bin", "*embed_tokens*.npy", "*embed_tokens*.float32.bin")
"""As published, the best first: the same rows in bfloat16, as numpy writes float32, and in float32."""

BFLOAT16 = np.dtype("bfloat16")


class EmbeddingTable:
    """Raises PackageError for a file that is no table of rows of `hidden_size`."""

    def __init__(self, path: Path, hidden_size: int) -> None:
        self._rows = _read_npy(path) if path.suffix == ".npy" else _read_plain(path, hidden_size)
        if self._rows.ndim != 2 or self._rows.shape[1] != hidden_size:
            raise PackageError(
                f"{path.name} holds {list(self._rows.shape)} numbers, expected rows of {hidden_size}"
            )
        self._name = path.name

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, token_ids: Array | slice) -> Array:
        """(n, hidden) bfloat16."""
        rows: Array = self._rows[token_ids]
        return rows if rows.dtype == BFLOAT16 else rows.astype(BFLOAT16)

    def check(self, vocab_size: int) -> None:
        """Raises PackageError where the head knows tokens that have no row."""
        if len(self._rows) < vocab_size:
            raise PackageError(
                f"{self._name} has {len(self._rows)} rows, but the head knows {vocab_size} tokens"
            )


def _read_plain(path: Path, hidden_size: int) -> Array:
    dtype = np.dtype(path.name.split(".")[-2])
    size = path.stat().st_size
    if size % (dtype.itemsize * hidden_size):
        kind = "bf16" if dtype == BFLOAT16 else dtype.name
        raise PackageError(
            f"{path.name} has {size} bytes, not a whole number of rows of {hidden_size} {kind}"
        )
    rows = np.memmap(path, dtype, "r").reshape(-1, hidden_size)
    return rows.view(np.ndarray)  # which is faster to take rows of


def _read_npy(path: Path) -> Array:
    try:
        rows: Array = np.lib.format.open_memmap(path, mode="r")  # np.load would open archives, too
    except Exception as error:  # a broken header is read as Python, and anything can come of it
        raise PackageError(f"{path.name} is not a file that numpy can read: {error}") from error
    if rows.dtype != np.float32:
        raise PackageError(f"{path.name} holds numbers of type {rows.dtype}, expected float32")
    return rows
