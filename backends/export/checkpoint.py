"""The weights of a Hugging Face checkpoint folder, read one tensor at a time."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from backends.base import Array
from backends.export.configuration import read_json
from backends.export.errors import ExportError

Shard = Any  # safetensors' handle of an open file, which has no types

FLOATS = ("F32", "F16", "BF16")


class Checkpoint:
    """A folder with config.json and either model.safetensors or its shards and their index.

    Files are mapped, so memory holds only what `tensor` was asked for. Raises ExportError, naming the file,
    for a missing config.json or weight file and for one that is not whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = read_json(folder / "config.json")
        index = folder / "model.safetensors.index.json"
        if index.exists():
            files = read_json(index).section("weight_map")
            names = {tensor: files.text(tensor) for tensor in files.values}
            shards: dict[str, Shard] = {name: _open(folder / name) for name in set(names.values())}
            self._shards = {tensor: shards[name] for tensor, name in names.items()}
        else:
            shard = _open(folder / "model.safetensors")
            self._shards = dict.fromkeys(shard.keys(), shard)

    def __contains__(self, tensor: str) -> bool:
        return tensor in self._shards

    def tensor(self, name: str, shape: tuple[int, ...]) -> Array:
        """The tensor in the float type it is stored in; ExportError unless it is there with this shape."""
        expected = f"{self.folder}: tensor {name}: expected a float tensor {list(shape)}"
        if name not in self._shards:
            raise ExportError(f"{expected}, found none")
        try:
            stored = self._shards[name].get_slice(name)
            if stored.get_dtype() not in FLOATS or tuple(stored.get_shape()) != shape:
                raise ExportError(f"{expected}, found {stored.get_dtype()} {stored.get_shape()}")
            tensor: Array = self._shards[name].get_tensor(name)
        except SafetensorError as error:
            raise ExportError(f"{expected}, found: {error}") from error
        return tensor


def _open(file: Path) -> Shard:
    try:
        return safe_open(file, framework="np")
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{file}: expected a whole safetensors file, found: {error}") from error
