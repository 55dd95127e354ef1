"""What MiniCPM-V 2.6 makes of a picture, for the golden file and for tests that compare with it directly.

It is not in transformers. Its steps are stated here once more, after image_processing_minicpmv.py of
openbmb/MiniCPM-V-2_6, with the Pillow and torch functions that it calls.
"""

from math import ceil, inf, log, sqrt
from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array
from tests.vision.pictures import pattern
from tests.vision.reference import SIZES, digest

EDGE, PATCH, MAX_SLICES, NUM_QUERIES = 448, 14, 9, 64

# Those whose views are square in the reference as well, so that pixels can be compared, and how many.
SQUARE_SIZES = {(96, 96): 1, (384, 384): 1, (448, 448): 1, (896, 896): 5, (1344, 1344): 10}
ALL_SIZES = [*SIZES, *SQUARE_SIZES, (500, 402), (640, 480), (1344, 448), (300, 2000), (1500, 1400)]


def grid(size: tuple[int, int], edge: int = EDGE, max_slices: int = MAX_SLICES) -> tuple[int, int] | None:
    """Columns and rows."""
    width, height = size
    multiple = min(ceil(width * height / (edge * edge)), max_slices)
    if multiple <= 1:
        return None
    best, smallest = (1, 1), inf
    for number in (multiple - 1, multiple, multiple + 1):
        if number == 1 or number > max_slices:
            continue
        for columns in range(1, number + 1):
            if number % columns:
                continue
            error = abs(log(width / height) - log(columns / (number // columns)))
            if error < smallest:
                best, smallest = (columns, number // columns), error
    return best


def text(found: tuple[int, int] | None, num_queries: int = NUM_QUERIES) -> str:
    """What stands in the prompt, behind the picture's number."""
    unknown = "<unk>" * num_queries
    columns, rows = found or (0, 0)
    lines = ["".join(f"<slice>{unknown}</slice>" for _ in range(columns)) for _ in range(rows)]
    return f"<image>{unknown}</image>" + "\n".join(lines)


def views(image: Image.Image) -> list[Array]:
    """The whole and then the slices, each (3, 14, patches * 14) float32."""
    found = grid(image.size)
    whole = image.resize(_fitted(image.size, upscale=found is None), Image.Resampling.BICUBIC)
    pictures = [whole]
    if found is not None:
        columns, rows = found
        width, height = _divisible(image.width, columns), _divisible(image.height, rows)
        cell = _fitted((width / columns, height / rows), upscale=True)
        refined = image.resize((cell[0] * columns, cell[1] * rows), Image.Resampling.BICUBIC)
        for top in range(0, refined.height, cell[1]):
            pictures += [
                refined.crop((left, top, left + cell[0], top + cell[1]))
                for left in range(0, refined.width, cell[0])
            ]
    return [_patches(picture) for picture in pictures]


def _fitted(size: tuple[float, float], upscale: bool) -> tuple[int, int]:
    """A size of about EDGE * EDGE pixels that patches fill."""
    width, height = size
    if width * height > EDGE * EDGE or upscale:
        ratio = width / height
        height = int(EDGE / sqrt(ratio))
        width = int(height * ratio)
    return _divisible(width, PATCH), _divisible(height, PATCH)


def _divisible(length: float, by: int) -> int:
    return max(round(length / by) * by, by)


def _patches(picture: Image.Image) -> Array:
    import torch

    shares = np.asarray(picture).astype(np.float32) / 255
    values = ((shares - np.float32(0.5)) / np.float32(0.5)).transpose(2, 0, 1)
    columns = torch.nn.functional.unfold(torch.from_numpy(values), PATCH, stride=PATCH)
    blocks = columns.reshape(3, PATCH, PATCH, -1).permute(0, 1, 3, 2).reshape(3, PATCH, -1)
    found: Array = blocks.numpy()
    return found


def golden() -> dict[str, Any]:
    """By size: the grid and, where the views are square, their hashes."""
    found: dict[str, Any] = {}
    for size in ALL_SIZES:
        hashes = [digest(view[np.newaxis]) for view in views(pattern(*size))] if size in SQUARE_SIZES else []
        found["{}x{}".format(*size)] = {"grid": grid(size), "views": hashes}
    return found
