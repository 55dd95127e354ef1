"""The same numbers from transformers, for the golden files and for tests that compare with it directly."""

import hashlib
from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array
from gateway.vision.qwen_vl import QwenVLSpec
from tests.vision.entries import encoder
from tests.vision.pictures import pattern

ENTRIES = ("qwen3-vl-384", "axgate-demo-96", "qwen2.5-vl-448", "qwen2.5-vl-308", "qwen2-vl-448")

# Picture sizes (width, height) as users send them.
SIZES = [(1, 1), (33, 57), (96, 96), (384, 384), (4000, 10), (1080, 1920), (1921, 1083)]

TEXT, IMAGE, VIDEO = 0, 1, 2

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

# The same with videos that are one block: frames, rows, columns and seconds.
VIDEO_LAYOUTS: dict[str, list[Any]] = {
    "video": [3, [4, 2, 3, 2.0], 5],
    "video last": [3, [6, 3, 2, 3.1]],
    "an odd number of frames": [2, [5, 2, 4, 2.5], 3],
    "one frame": [2, [1, 3, 3, 0.0], 3],
    "longer than it is wide": [2, [5, 2, 2, 60.0], 4],
    "frames that follow each other at once": [2, [8, 2, 2, 1.0], 3],
    "pictures and videos": [
        1,
        [2, 5],
        2,
        [4, 3, 3, 3.3],
        1,
        [2, 2, 2, 1.0],
        2,
        [6, 1, 2, 20.0],
        1,
        [3, 1],
        6,
    ],
    "published size": [15, [8, 11, 11, 7.7], 9],
}


def patches(image: Image.Image, spec: QwenVLSpec) -> Array:
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


def patch_digests() -> dict[str, str]:
    return {
        f"{entry} {width}x{height}": digest(patches(pattern(width, height), encoder(entry).spec))
        for entry in ENTRIES
        for width, height in SIZES
    }


def digest(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def positions(layout: list[Any], family: str = "qwen3_vl", merge_size: int = 2) -> list[list[int]]:
    """get_rope_index of a family for a prompt of one batch row."""
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(family, text_config={"num_hidden_layers": 1}, vision_config={"depth": 1})
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    vision = model.config.vision_config
    assert vision.spatial_merge_size == merge_size
    kinds: list[int] = []
    grids: dict[int, list[list[int]]] = {IMAGE: [], VIDEO: []}
    given: dict[str, Any] = {}
    if family == "qwen2_5_vl":
        vision.tokens_per_second = 2  # as in the published configurations
        seconds = [run[3] / run[0] * vision.temporal_patch_size for run in layout if _kind(run) == VIDEO]
        given["second_per_grid_ts"] = torch.tensor(seconds)
    for run in layout:
        if (kind := _kind(run)) == TEXT:
            kinds += [kind] * run
            continue
        num_groups = -(-run[0] // vision.temporal_patch_size) if kind == VIDEO else 1
        rows, columns = run[1:3] if kind == VIDEO else run
        kinds += [kind] * (num_groups * rows * columns)
        grids[kind].append([num_groups, rows * merge_size, columns * merge_size])
    found, _ = model.get_rope_index(
        torch.zeros((1, len(kinds)), dtype=torch.long),
        mm_token_type_ids=torch.tensor([kinds], dtype=torch.int),
        image_grid_thw=torch.tensor(grids[IMAGE]) if grids[IMAGE] else None,
        video_grid_thw=torch.tensor(grids[VIDEO]) if grids[VIDEO] else None,
        **given,
    )
    numbers: list[list[int]] = found[:, 0].tolist()
    return numbers


def positions_qwen2() -> dict[str, list[list[int]]]:
    """By family and layout."""
    return {
        f"{family}, {name}": positions(layout, family)
        for family in ("qwen2_vl", "qwen2_5_vl")
        for name, layout in (LAYOUTS | VIDEO_LAYOUTS).items()
    }


def _kind(run: Any) -> int:
    """As transformers numbers them."""
    return TEXT if isinstance(run, int) else IMAGE if len(run) == 2 else VIDEO
