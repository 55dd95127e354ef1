"""What a person can choose about an export."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from backends.export.errors import ExportError
from backends.export.quantize import Weights

VisionInput = Literal["u8-nhwc", "f32-nchw", "f32-patches"]
"""Pixels of 0 to 255 that the graph normalises, or normalised ones, or (SmolVLM alone) the patch embeddings
of all tiles of a picture."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The defaults are those of the published Qwen3-VL packages.

    kv_cache_len: cache rows of the decode group
    prefill_len:  positions of one prefill call
    histories:    cache rows of the prefill groups after the first, which has none
    weights:      how the matrices of the language model are stored; the vision tower keeps its own type
    image_width, image_height: pixels; None takes the size the checkpoint's preprocessor fixes, else 384
    vision_input: what the graphs take that are given a whole picture; those of patches take uint8 always
    """

    kv_cache_len: int = 2047
    prefill_len: int = 128
    histories: tuple[int, ...] = tuple(range(128, 1153, 128))
    weights: Weights = "keep"
    image_width: int | None = None
    image_height: int | None = None
    vision_input: VisionInput = "u8-nhwc"

    def check(self) -> None:
        """Raises ExportError for shapes that no package can have."""
        rows = (0, *self.histories)
        if self.prefill_len < 2:
            raise ExportError(f"prefill_len: expected 2 positions or more, got {self.prefill_len}")
        if any(after <= before for before, after in pairwise(rows)):
            raise ExportError(
                f"histories: expected rising numbers of rows above 0, got {list(self.histories)}"
            )
        if self.kv_cache_len <= rows[-1]:
            raise ExportError(
                f"kv_cache_len: expected more rows than the last history, {rows[-1]}, got {self.kv_cache_len}"
            )
        for name, edge in (("image_width", self.image_width), ("image_height", self.image_height)):
            if edge is not None and edge < 1:
                raise ExportError(f"{name}: expected 1 pixel or more, got {edge}")
