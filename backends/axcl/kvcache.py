"""The KV cache of one session: one device allocation, K and V rows of every layer in it."""

from dataclasses import dataclass

import numpy as np

from backends.axcl.handles import PAGE
from backends.axcl.layout import LayerLayout
from backends.axcl.rt import Runtime
from backends.base import Array


@dataclass(frozen=True, slots=True)
class CacheShape:
    """`num_layers` × (K, V) regions of `rows` rows, each region starting on a page."""

    num_layers: int
    rows: int
    row_bytes: int

    @classmethod
    def of(cls, layout: LayerLayout, num_layers: int) -> "CacheShape":
        return cls(num_layers, layout.cache_rows, 2 * layout.kv_dim)

    @property
    def region_bytes(self) -> int:
        return -(-self.rows * self.row_bytes // PAGE) * PAGE

    @property
    def nbytes(self) -> int:
        return 2 * self.num_layers * self.region_bytes


class AxclKVCache:
    """Rows are addressed by position: truncating is free, forking copies on the device."""

    def __init__(self, runtime: Runtime, shape: CacheShape) -> None:
        self._runtime = runtime
        self._shape = shape
        self._buffer = runtime.malloc(shape.nbytes)
        size = shape.region_bytes
        regions = [self._buffer.part(index * size, size) for index in range(2 * shape.num_layers)]
        self.keys, self.values = regions[::2], regions[1::2]  # by layer
        self._regions = regions
        self._length = 0

    @property
    def length(self) -> int:
        return self._length

    def advance(self, num_rows: int) -> None:
        """Count rows that a finished call has written. For the decoder."""
        self._length += num_rows

    def truncate(self, length: int) -> None:
        if not 0 <= length <= self._length:
            raise ValueError(f"cannot truncate {self._length} rows to {length}")
        self._length = length

    def save(self) -> Array:
        size = self._length * self._shape.row_bytes
        rows = np.empty((2 * self._shape.num_layers, size), np.uint8)
        if size:
            for row, region in zip(rows, self._regions, strict=True):
                self._runtime.download(row, region)
        return rows

    def load(self, rows: Array) -> None:
        if rows.shape[1]:
            for row, region in zip(rows, self._regions, strict=True):
                self._runtime.upload(region, row)
        self._length = rows.shape[1] // self._shape.row_bytes

    def fork(self, length: int) -> "AxclKVCache":
        if not 0 <= length <= self._length:
            raise ValueError(f"cannot fork {length} of {self._length} rows")
        twin = AxclKVCache(self._runtime, self._shape)
        size = length * self._shape.row_bytes
        if size:
            for target, source in zip(twin._regions, self._regions, strict=True):
                self._runtime.copy(target, source.part(0, size))
        twin._length = length
        return twin

    def free(self) -> None:
        self._runtime.free(self._buffer)
