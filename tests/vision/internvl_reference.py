"""InternVL's tiles from transformers, for the golden file and for tests that compare with it directly."""

from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array
from gateway.vision.internvl import InternVLSpec
from tests.vision.entries import encoder
from tests.vision.pictures import pattern
from tests.vision.reference import digest

ENTRIES = ("internvl-448", "internvl-448-tiled", "axgate-demo-internvl-96")

# Picture sizes (width, height) as users send them.
SIZES = [(1, 1), (33, 57), (96, 96), (448, 448), (4000, 10), (20, 900), (1080, 1920), (1921, 1083)]


def pixel_values(picture: Image.Image, spec: InternVLSpec, dtype: str = "float32") -> Array:
    """(tiles, 3, edge, edge); uint8 is before normalisation."""
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    processor = GotOcr2ImageProcessorPil(
        size={"height": spec.image_size, "width": spec.image_size},
        image_mean=spec.mean,
        image_std=spec.std,
        crop_to_patches=True,
        min_patches=spec.min_tiles,
        max_patches=spec.max_tiles,
        do_rescale=dtype == "float32",
        do_normalize=dtype == "float32",
    )
    return np.asarray(processor(picture, return_tensors="np")["pixel_values"])


def digests() -> dict[str, str]:
    """By entry, size and dtype."""
    found: dict[str, str] = {}
    for name in ENTRIES:
        spec: Any = encoder(name).spec
        for width, height in SIZES:
            picture = pattern(width, height)
            for dtype in ("uint8", "float32"):
                found[f"{name} {width}x{height} {dtype}"] = digest(pixel_values(picture, spec, dtype))
    return found
