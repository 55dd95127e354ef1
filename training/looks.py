"""Looks: the ways a picture can reach the model, imitated in training so that it minds none of them."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.scenes import SIDE, Scene

_FILTERS = (
    Image.Resampling.BICUBIC,
    Image.Resampling.BICUBIC,
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.LANCZOS,
)
_SCALES = (1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4)


@dataclass(frozen=True)
class Look:
    """How a scene becomes pixels: drawn large, perhaps kept as JPEG, made small, perhaps a little noisy."""

    scale: int
    jpeg_quality: int | None
    resampling: Image.Resampling
    noise_seed: int | None

    def take(self, scene: Scene) -> NDArray[np.uint8]:
        """The scene as the model sees it: (96, 96, 3) uint8."""
        picture = scene.draw(self.scale)
        if self.jpeg_quality is not None:
            packed = io.BytesIO()
            picture.save(packed, "JPEG", quality=self.jpeg_quality)
            picture = Image.open(packed).convert("RGB")
        pixels = np.asarray(picture.resize((SIDE, SIDE), self.resampling))
        if self.noise_seed is not None:
            noise = np.random.default_rng(self.noise_seed).integers(-8, 9, pixels.shape, dtype=np.int16)
            pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        return pixels


def random_look(rng: random.Random) -> Look:
    """A look as training uses it."""
    quality = rng.randint(65, 95) if rng.random() < 0.08 else None
    noise_seed = rng.getrandbits(32) if rng.random() < 0.25 else None
    return Look(rng.choice(_SCALES), quality, rng.choice(_FILTERS), noise_seed)
