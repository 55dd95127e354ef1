"""What transformers makes of pictures and videos for SmolVLM, for the golden file and for tests that compare
with it directly."""

from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array
from gateway.vision.smolvlm import SmolVLMSpec
from gateway.vision.video import Video
from tests.vision.entries import encoder
from tests.vision.pictures import pattern
from tests.vision.reference import digest

# Entries, and sizes (width, height) of pictures as users send them.
CASES = {
    "smolvlm-512": [(1, 1), (640, 480)],
    "smolvlm-512-2x2": [(33, 57), (640, 480)],
    "smolvlm-512-tiled": [(4000, 10), (480, 640)],
    "smolvlm-384": [(1, 1), (1083, 721)],
    "axgate-demo-smolvlm-96": [
        (1, 1),
        (33, 57),
        (96, 96),
        (4000, 10),
        (10, 4000),
        (1080, 1920),
        (1921, 1083),
    ],
}


def pixel_values(image: Image.Image, spec: SmolVLMSpec) -> Array:
    """(tiles, 3, edge, edge) float32, normalised. A fixed grid is not known there: the picture is stretched
    to it before."""
    from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

    edge, grid = spec.tile_size, spec.grid
    longest_edge = spec.longest_edge
    if grid is not None and grid != (1, 1):
        size = grid[1] * edge, grid[0] * edge
        image, longest_edge = image.resize(size, Image.Resampling.LANCZOS), max(size)
    processor = SmolVLMImageProcessorPil(
        size={"longest_edge": longest_edge},
        max_image_size={"longest_edge": edge},
        do_image_splitting=grid != (1, 1),
        image_mean=list(spec.mean),
        image_std=list(spec.std),
    )
    values: Array = np.asarray(processor(image, return_tensors="np")["pixel_values"])[0]
    return values


def digests() -> dict[str, str]:
    return {
        f"{name} {width}x{height}": digest(pixel_values(pattern(width, height), encoder(name).spec))
        for name, sizes in CASES.items()
        for width, height in sizes
    }


def image_text(rows: int, columns: int) -> str:
    """How a picture stands in the prompt, with one token a tile; 0 by 0 is one tile."""
    from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

    tokens = ("<fake_token_around_image>", "<image>", "<global-img>")
    return str(get_image_prompt_string(rows, columns, 1, *tokens))


def video_text(video: Video) -> str:
    """The same of a video."""
    from transformers import SmolVLMProcessor

    fake, image, whole = ("<fake_token_around_image>", "<image>", "<global-img>")
    processor: Any = SimpleNamespace(
        image_seq_len=1, fake_image_token=fake, image_token=image, global_image_token=whole
    )
    metadata = SimpleNamespace(
        fps=1.0, duration=video.duration_s, timestamps=[frame.time_s for frame in video.frames]
    )
    inputs = {"pixel_values": np.zeros((1, len(video.frames), 3, 1, 1)), "video_metadata": [metadata]}
    return str(SmolVLMProcessor.replace_video_token(processor, inputs, 0))
