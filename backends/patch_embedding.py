"""The first layer of a vision tower, for the host: packages exist whose vision graph begins behind it.

It comes with such a package in a file of its own, written by `backends.export`.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from backends.base import Array, PackageError

FILE = Path("embeds", "vision_patches.safetensors")
"""Where it lies in a package."""


Shapes = dict[str, tuple[int, ...]]
"""Of tensors, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class PatchEmbedding:
    """weight: (3 * patch rows * patch columns, hidden) float32
    offset:  (patches, hidden) float32: the bias, and the position of each patch of a picture
    """

    weight: Array
    offset: Array

    def embeds(self, pixels: Array) -> Array:
        """(3, edge, edge) normalised float32 -> (patches, hidden). Pixels at the right and at the bottom that
        make no whole patch are left out."""
        side, patch = _root(len(self.offset)), _root(len(self.weight) // 3)
        used = pixels[:, : side * patch, : side * patch].reshape(3, side, patch, side, patch)
        embeds: Array = used.transpose(1, 3, 0, 2, 4).reshape(side * side, -1) @ self.weight + self.offset
        return embeds

    def save(self, file: Path) -> None:
        save_file({"weight": self.weight, "offset": self.offset}, file)

    @classmethod
    def load(cls, package: Path, patch_size: int, num_patches: int, hidden_size: int) -> "PatchEmbedding":
        """That of a package, for pictures of `num_patches` along each edge. Raises PackageError where it is
        missing, or made for other pictures or another tower."""
        try:
            tensors = load_file(package / FILE)
        except (OSError, SafetensorError) as reason:
            raise PackageError(
                f"{package / FILE} cannot be read: {reason}. The vision graph of this package takes patch "
                "embeddings, which the host makes with the weights in that file. Make it from the published "
                "checkpoint: python -m backends.export.smolvlm_patches CHECKPOINT PACKAGE"
            ) from None
        expected: Shapes = {
            "weight": (3 * patch_size**2, hidden_size),
            "offset": (num_patches**2, hidden_size),
        }
        found = {name: tensor.shape for name, tensor in tensors.items() if tensor.dtype == np.float32}
        if found != expected:
            raise PackageError(
                f"{package / FILE} holds the float32 tensors {_told(found)}, expected {_told(expected)}"
            )
        return cls(tensors["weight"], tensors["offset"])


def _told(shapes: Shapes) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items())) or "none"


def _root(number: int) -> int:
    return math.isqrt(number)
