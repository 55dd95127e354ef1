"""What one call of the layers needs from the host, side by side on the device so that it goes up in one copy.

The indices and the mask are the same for every layer of a call, and all layers are bound to this one place,
so a token costs one upload whatever the number of layers. Mask values and their meaning: bf16, 0 visible,
-65536 masked; columns are the history rows, then the chunk itself, which attends to itself causally.
"""

import numpy as np

from backends.axcl.layout import LayerGroup
from backends.axcl.rt import Runtime
from backends.base import Array

ALIGNMENT = 128
MASKED = np.uint16(0xC780)  # the bf16 pattern of -65536
VISIBLE = np.uint16(0)


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


class Staging:
    """Embeds, indices and mask for calls of up to `chunk` positions; `hidden` is where layer 0 reads."""

    def __init__(self, runtime: Runtime, groups: tuple[LayerGroup, ...], hidden_size: int) -> None:
        chunk, rows = groups[0].chunk, groups[0].index_rows
        hidden_bytes, index_bytes = aligned(2 * chunk * hidden_size), aligned(4 * rows * chunk)
        mask_bytes = 2 * chunk * max(group.total for group in groups)
        self._runtime = runtime
        self._host = np.zeros(hidden_bytes + index_bytes + mask_bytes, np.uint8)
        self.buffer = runtime.malloc(self._host.nbytes)
        self.hidden = self.buffer.part(0, hidden_bytes)
        self.indices = self.buffer.part(hidden_bytes, index_bytes)
        self.mask = self.buffer.part(hidden_bytes + index_bytes, mask_bytes)
        self._embeds = self._host[: 2 * chunk * hidden_size].view(np.uint16).reshape(chunk, hidden_size)
        self._positions = self._host[hidden_bytes:][: 4 * rows * chunk].view(np.uint32).reshape(rows, chunk)
        self._masks = self._host[hidden_bytes + index_bytes :].view(np.uint16)
        self._causal = np.where(np.tri(chunk, dtype=bool), VISIBLE, MASKED)

    def fill(self, group: LayerGroup, embeds: Array, positions: Array, length: int) -> None:
        """Lay out a call of n positions behind `length` cached rows.

        embeds: (n, hidden) bfloat16; positions: (3, n) uint32. Padded rows are zero and see nothing.
        """
        n = embeds.shape[0]
        self._embeds[:n] = embeds.view(np.uint16)
        self._embeds[n:] = 0
        self._positions[:, :n] = positions[: group.index_rows]
        self._positions[:, n:] = 0
        mask = self._masks[: group.chunk * group.total].reshape(group.chunk, group.total)
        mask[:] = MASKED
        mask[:n, :length] = VISIBLE
        mask[:n, group.history :] = self._causal[:n]
        self._used = self._host[: self._host.nbytes - self._masks.nbytes + mask.nbytes]

    def upload(self) -> None:
        """All of it, in one copy."""
        self._runtime.upload(self.buffer, self._used)

    def upload_hidden(self) -> None:
        self._runtime.upload(self.hidden, self._host[: self.hidden.size])

    def upload_indices_and_mask(self) -> None:
        """In two copies, as a runner does that keeps these per layer."""
        self._runtime.upload(self.indices, self._positions)
        self._runtime.upload(self.mask, self._used[self.hidden.size + self.indices.size :])
