"""Position ids of a prompt: plain, and in three rows for models with M-RoPE."""

from collections.abc import Sequence

import numpy as np

from backends.base import Array
from gateway.vision.layout import Span


def text_positions(num_tokens: int) -> Array:
    """(3, n) uint32: 0, 1, 2, … in every row, as text has them and everything in models without M-RoPE."""
    return np.tile(np.arange(num_tokens, dtype=np.uint32), (3, 1))


def mrope_positions(num_tokens: int, spans: Sequence[Span]) -> Array:
    """(3, n) uint32, rows for time, height and width (transformers 5.23, `get_rope_index` of Qwen2-VL,
    Qwen2.5-VL and Qwen3-VL).

    Text counts up in all three rows. A block (a picture, or the tiles of a video) spreads over time, height
    and width from one origin; what follows it starts past its rows and columns, however long it lasts: this
    version of the reference does not look at the time there, earlier ones went on past that too.
    """
    positions = np.empty((3, num_tokens), dtype=np.uint32)
    place = origin = current = 0
    for span in spans:
        num_text = span.start - place
        positions[:, place : span.start] = np.arange(current, current + num_text)
        current += num_text
        if not span.tile.continues:
            origin = current
        rows, columns = np.indices(span.tile.grid)
        positions[0, span.start : span.stop] = origin + span.tile.time
        positions[1, span.start : span.stop] = origin + rows.ravel()
        positions[2, span.start : span.stop] = origin + columns.ravel()
        current = origin + max(span.tile.grid)
        place = span.stop
    positions[:, place:] = np.arange(current, current + num_tokens - place)
    return positions
