"""What the references make of a picture, for the golden file and for tests that compare with it directly.

Janus-Pro, FastVLM and MobileVLM V2 have their processors in transformers. DeepSeek-OCR has none there: its
steps are those of `infer` without crop mode in its modeling_deepseekocr.py, by the Pillow function that it
calls, and by what torchvision's ToTensor and Normalize compute.
"""

from typing import Any

import numpy as np
from PIL import Image, ImageOps

from backends.base import Array
from gateway.vision.square import Square
from tests.vision.entries import encoder
from tests.vision.pictures import pattern
from tests.vision.reference import SIZES, digest

# With sizes whose rounding shows: no half of what the square has more is whole, nor is the shorter edge.
SQUARE_SIZES = [*SIZES, (90, 41), (41, 90)]

ENTRIES = [
    "janus-pro-384",
    "fastvlm-512",
    "fastvlm-1024",
    "mobilevlm-v2-336",
    "deepseek-ocr-base",
    "deepseek-ocr-small",
    "deepseek-ocr-tiny",
]


def pixel_values(image: Image.Image, square: Square[Any]) -> Array:
    """(3, rows, columns) float32, normalised."""
    spec, size = square.spec, square.spec.image_size
    numbers: dict[str, Any] = {"image_mean": list(spec.mean), "image_std": list(spec.std)}
    if square.family == "janus":
        from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

        processor = JanusImageProcessorPil(size={"height": size, "width": size}, **numbers)
    elif square.family == "llava":
        from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

        crop = {"height": size, "width": size}
        processor = LlavaImageProcessorPil(
            do_pad=True, size={"shortest_edge": size}, crop_size=crop, **numbers
        )
    else:
        return _deepseek_ocr(image, size)
    values: Array = np.asarray(processor(image, return_tensors="np")["pixel_values"])[0]
    return values


def _deepseek_ocr(image: Image.Image, size: int) -> Array:
    import torch

    if size <= 640:
        image = image.resize((size, size))
    view = ImageOps.pad(image, (size, size), color=tuple(int(share * 255) for share in (0.5, 0.5, 0.5)))
    shares = torch.from_numpy(np.array(view).transpose(2, 0, 1)).to(torch.float32).div(255)
    values: Array = shares.sub(0.5).div(0.5).numpy()
    return values


def raw(values: Array, square: Square[Any]) -> Array:
    """The same picture in 0…255: (rows, columns, 3) uint8."""
    mean, std = (np.array(each)[:, None, None] for each in (square.spec.mean, square.spec.std))
    pixels: Array = np.rint((values * std + mean) * 255).astype(np.uint8)
    return pixels.transpose(1, 2, 0)


def digests() -> dict[str, dict[str, str]]:
    """By entry and size, then by the type that the graph takes."""
    found = {}
    for name in ENTRIES:
        square = encoder(name)
        assert isinstance(square, Square)
        for width, height in SQUARE_SIZES:
            values = pixel_values(pattern(width, height), square)
            found[f"{name} {width}x{height}"] = {
                "float32": digest(values[np.newaxis]),
                "uint8": digest(raw(values, square)[np.newaxis]),
            }
    return found
