"""What a person can choose about an export."""

from dataclasses import dataclass

from backends.export.quantize import Weights


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The defaults are those of the published Qwen3-VL packages.

    kv_cache_len: cache rows of the decode group
    prefill_len:  positions of one prefill call
    histories:    cache rows of the prefill groups after the first, which has none
    weights:      how the matrices of the language model are stored; the vision tower keeps its own type
    image_width, image_height: pixels; None takes the size the checkpoint's preprocessor fixes, else 384
    """

    kv_cache_len: int = 2047
    prefill_len: int = 128
    histories: tuple[int, ...] = tuple(range(128, 1153, 128))
    weights: Weights = "keep"
    image_width: int | None = None
    image_height: int | None = None
