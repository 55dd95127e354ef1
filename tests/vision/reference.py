"""The same numbers from transformers, for the golden files and for tests that compare with it directly."""

import hashlib
from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array
from gateway.vision.spec import VisionSpec
from tests.vision.pictures import pattern

# Picture sizes (width, height) as users send them.
SIZES = [(1, 1), (33, 57), (96, 96), (384, 384), (4000, 10), (1080, 1920), (1921, 1083)]

# Prompts as runs of text (a number of tokens) and pictures (rows and columns of tokens).
LAYOUTS: dict[str, list[Any]] = {
    "text only": [7],
    "picture first": [[2, 3], 4],
    "text before and after": [3, [4, 2], 5],
    "picture last": [6, [3, 3]],
    "two pictures": [1, [2, 5], 2, [5, 2], 3],
    "three pictures": [4, [1, 1], 2, [6, 3], 2, [3, 6], 2],
    "published size": [4, [12, 12], 20],
}


def patches(image: Image.Image, spec: VisionSpec) -> Array:
    """(1, patches, T*P*P, 3) uint8 out of the pixel values of Qwen2VLImageProcessorPil, which are normalised
    and have channels before frames. The resize is done here, for the processor keeps aspect ratios."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil(
        patch_size=spec.patch_size,
        merge_size=spec.merge_size,
        temporal_patch_size=spec.temporal_patch_size,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        do_resize=False,
    )
    resized = image.resize((spec.width, spec.height), Image.Resampling.BICUBIC)
    values = np.asarray(processor(resized, return_tensors="np")["pixel_values"])
    channels_first = np.rint(values * 127.5 + 127.5).astype(np.uint8).reshape(len(values), 3, -1)
    return channels_first.transpose(0, 2, 1)[None]


def patch_digests(specs: list[VisionSpec]) -> dict[str, str]:
    return {
        f"{spec.name} {width}x{height}": digest(patches(pattern(width, height), spec))
        for spec in specs
        for width, height in SIZES
    }


def digest(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def positions(layout: list[Any], merge_size: int = 2) -> list[list[int]]:
    """get_rope_index of Qwen3-VL for a prompt of one batch row."""
    import torch
    from transformers import Qwen3VLConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

    with torch.device("meta"):
        model = Qwen3VLModel(Qwen3VLConfig(text_config={"num_hidden_layers": 1}, vision_config={"depth": 1}))
    assert model.config.vision_config.spatial_merge_size == merge_size
    kinds = [
        kind for run in layout for kind in ([0] * run if isinstance(run, int) else [1] * (run[0] * run[1]))
    ]
    grids = [[1, run[0] * merge_size, run[1] * merge_size] for run in layout if not isinstance(run, int)]
    found, _ = model.get_rope_index(
        torch.zeros((1, len(kinds)), dtype=torch.long),
        torch.tensor([kinds], dtype=torch.int),
        image_grid_thw=torch.tensor(grids) if grids else None,
    )
    rows: list[list[int]] = found[:, 0].tolist()
    return rows
