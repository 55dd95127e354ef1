"""Pixels as the graphs take them that leave normalisation to the host."""

import numpy as np

from backends.base import Array
from gateway.vision.spec import Colour, Deviations


def normal(pixels: Array, mean: Colour, std: Deviations) -> Array:
    """(rows, columns, 3) uint8 -> (3, rows, columns) float32; `mean` and `std` are in 0…1.

    In these steps, for this is what transformers 5.23 rounds (image_transforms.py, `rescale`, `normalize`).
    """
    scaled = (pixels.astype(np.float64) * (1 / 255)).astype(np.float32)
    values: Array = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))
