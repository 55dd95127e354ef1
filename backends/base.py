"""The seam: what the engine needs of a device, and nothing more.

White-box devices implement `Decoder` (the engine drives every chunk and every token); `Graph` is any compiled
network that runs in one shot, such as a vision encoder. Device errors cross this seam as `DeviceError` only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NewType, Protocol

import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

Hidden = NewType("Hidden", int)
"""A device address that holds one row of `hidden_size` bf16: the last position of the last call.
It is valid until the next prefill or decode of the same decoder."""


class PackageError(Exception):
    """A model folder that cannot be used; the message names the file and says what was expected."""


class DeviceError(Exception):
    """`call` failed on the device with `code` (unsigned 32 bit; 0xFFFFFFFF when the binding itself failed, 0
    when what it answered cannot be)."""

    def __init__(self, call: str, code: int, detail: str) -> None:
        super().__init__(call, code, detail)
        self.call = call
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        told = f"{self.call}: {self.detail}"
        return told if self.code in (0, 0xFFFFFFFF) else f"{told} (0x{self.code:08X})"


class DeviceMemoryError(DeviceError):
    """The device has no room for an allocation or a model."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a compiled graph; `dtype` is the numpy name of its elements, e.g. bfloat16."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class DecoderInfo:
    """What the compiled language model turned out to be."""

    num_layers: int
    vocab_size: int
    hidden_size: int
    kv_dim: int
    context_length: int  # rows a KV cache can hold
    prefill_chunk: int  # positions per prefill call
    prefill_history: int  # behind more rows than these, positions go one by one through decode
    index_rows: int  # 3 for mrope models, else 1
    cache_bytes: int  # device memory of one KV cache
    cache_row_bytes: int  # K and V of one position, in all layers
    decode_rows: int = 1  # index rows of decode: with fewer than `index_rows`, it cannot place a picture

    @property
    def image_reach(self) -> int:
        """Pictures have to end within so many positions from the beginning."""
        if self.decode_rows == self.index_rows:
            return self.context_length
        return min(self.prefill_history + self.prefill_chunk, self.context_length)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Up to `prefill_chunk` consecutive positions of one prompt.

    embeds:      (n, hidden) bfloat16
    positions:   (3, n) uint32; the rows are equal where the model has one-dimensional positions
    visual_rows: (v,) indices into the chunk, where picture features stand
    deepstack:   per level k, (v, hidden) float32 to add to the output of layer k at `visual_rows`
    """

    embeds: Array
    positions: Array
    visual_rows: Array
    deepstack: tuple[Array, ...]

    @property
    def num_tokens(self) -> int:
        return int(self.embeds.shape[0])


class KVCache(Protocol):
    """K and V rows of every layer for one session, on the device."""

    @property
    def length(self) -> int:
        """Rows in use."""
        ...

    def truncate(self, length: int) -> None:
        """Forget rows from `length` on. Free of cost: rows are addressed by position and masked."""
        ...

    def save(self) -> Array:
        """The rows in use, copied to the host: (2 × layers, bytes) uint8."""
        ...

    def load(self, rows: Array) -> None:
        """Take over rows that `save` of the same model gave."""
        ...

    def fork(self, length: int) -> "KVCache":
        """A new cache holding a copy of the first `length` rows; raises DeviceMemoryError."""
        ...

    def free(self) -> None:
        """Give the device memory back. The cache cannot be used afterwards."""
        ...


class Decoder(Protocol):
    """The language model on one device. `length` of the cache is where a call writes."""

    @property
    def info(self) -> DecoderInfo: ...

    def new_cache(self) -> KVCache:
        """A zeroed, empty cache; raises DeviceMemoryError."""
        ...

    def embed(self, token_ids: Array) -> Array:
        """(n,) ids -> (n, hidden) bfloat16 rows of the embedding table, on the host."""
        ...

    def chunk_size(self, length: int, num_remaining: int) -> int:
        """How many of `num_remaining` positions the next `prefill` should take behind `length` rows."""
        ...

    def prefill(self, cache: KVCache, chunk: Chunk) -> Hidden:
        """Run a chunk of at most `chunk_size` positions and append its rows to the cache."""
        ...

    def decode(self, cache: KVCache, token_id: int, position: int) -> Hidden:
        """Run one token and append its row to the cache."""
        ...

    def logits(self, hidden: Hidden) -> Array:
        """(vocab,) float32. Separate from prefill because only the last chunk of a prompt pays for it."""
        ...


class Graph(Protocol):
    """A compiled one-shot network with a single static shape."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...
