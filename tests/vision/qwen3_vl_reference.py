"""What transformers makes of videos for Qwen3-VL, for the golden file and for the tests that compare with it.

Its video processor cannot be built without torchvision, but what is asked of it here needs none.
"""

from collections.abc import Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from backends.base import Array
from gateway.vision.qwen_vl import QwenVLSpec
from tests.vision.entries import encoder
from tests.vision.pictures import pattern
from tests.vision.reference import digest

# Frames of a video, how many a second, and how many a second are asked for (0 leaves it to the model).
SAMPLES = [
    (1, 25.0, 0),
    (3, 2.0, 0),
    (10, 25.0, 0),
    (30, 10.0, 0),
    (100, 25.0, 0),
    (100, 29.97, 1),
    (101, 25.0, 5),
    (7, 1.0, 0),
    (10_000, 24.0, 0),
]

# The places of taken frames, and how many frames a second the video has.
TAKEN: dict[str, tuple[list[int], float]] = {
    "one frame": ([0], 2.0),
    "a pair": ([0, 1], 2.0),
    "an odd number": ([0, 12, 25, 37, 50], 25.0),
    "halves": ([0, 1, 2, 3], 2.0),
    "quarters": ([1, 2, 3, 4, 6, 7], 4.0),
    "far apart": ([0, 1000, 5000, 9999], 29.97),
}

# Prompts as runs of text and pictures (rows and columns of tokens), or videos (groups, text before each, rows
# and columns of tokens).
LAYOUTS: dict[str, list[Any]] = {
    "video": [4, [1, 7, 2, 3], 3],
    "video of three groups": [2, [3, 5, 3, 2], 6],
    "picture, video, picture": [1, [2, 2], 2, [2, 6, 3, 3], 1, [1, 4], 2],
    "published size": [3, [4, 9, 12, 12], 15],
}


def golden() -> dict[str, Any]:
    return {
        "samples": {str(each): sampled(*each) for each in SAMPLES},
        "texts": {name: text(*taken) for name, taken in TAKEN.items()},
        "patches": {name: [digest(each) for each in patches(name)] for name in ("qwen3-vl-384",)},
        "positions": {name: positions(layout) for name, layout in LAYOUTS.items()},
    }


def sampled(num_frames: int, rate: float, fps: float, entry: str = "qwen3-vl-384") -> list[int]:
    """`sample_frames`, with the limits of the entry."""
    from transformers.video_utils import VideoMetadata

    video = encoder(entry).spec.video
    limits = SimpleNamespace(fps=video.fps, min_frames=video.min_frames, max_frames=video.max_frames)
    metadata = VideoMetadata(total_num_frames=num_frames, fps=rate)
    found = _module().Qwen3VLVideoProcessor.sample_frames(limits, metadata, fps=fps or None)
    return [int(place) for place in found]


def text(taken: list[int], rate: float) -> str:
    """`replace_video_token`, for groups of one token."""
    import torch
    from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
    from transformers.video_utils import VideoMetadata

    processor = object.__new__(Qwen3VLProcessor)
    processor.video_token = "<|video_pad|>"
    processor.vision_start_token, processor.vision_end_token = "<|vision_start|>", "<|vision_end|>"
    processor.video_processor = SimpleNamespace(merge_size=2, temporal_patch_size=2)
    metadata = VideoMetadata(total_num_frames=taken[-1] + 1, fps=rate, frames_indices=list(taken))
    grid = torch.tensor([[-(-len(taken) // 2), 2, 2]])
    written: str = processor.replace_video_token(
        {"video_grid_thw": grid, "video_metadata": [metadata]}, video_idx=0
    )
    return written


def patches(entry: str) -> list[Array]:
    """Those of three frames, as graphs take them: see `reference.patches`."""
    groups = patches_of(three_frames(), entry)
    return [group.reshape(1, len(group), 3, -1).transpose(0, 1, 3, 2) for group in groups]


def patches_of(pictures: Sequence[Image.Image], entry: str) -> list[Array]:
    """What `patchify` makes of frames of an entry's size: (patches, 3 * T * P * P) uint8 for each group."""
    import torch

    spec: QwenVLSpec = encoder(entry).spec
    size = (spec.width, spec.height)
    frames = [np.asarray(picture.resize(size, Image.Resampling.BICUBIC)) for picture in pictures]
    videos = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None]
    sizes = (spec.patch_size, spec.merge_size, spec.temporal_patch_size)
    flat, num_groups, _, _ = _module().Qwen3VLVideoProcessor.patchify(None, videos, *sizes)
    return list(flat.numpy().reshape(num_groups, -1, flat.shape[-1]))


def three_frames() -> list[Image.Image]:
    return [pattern(50 + place, 40) for place in range(3)]


def positions(layout: list[Any]) -> list[list[int]]:
    """`get_rope_index` for a prompt of one batch row."""
    import torch
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(
        "qwen3_vl", text_config={"num_hidden_layers": 1}, vision_config={"depth": 1}
    )
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    kinds: list[int] = []
    grids: dict[int, list[list[int]]] = {1: [], 2: []}
    for run in layout:
        if isinstance(run, int):
            kinds += [0] * run
            continue
        num_groups, num_text, rows, columns = run if len(run) == 4 else (1, 0, *run)
        kind = 2 if len(run) == 4 else 1
        kinds += ([0] * num_text + [kind] * (rows * columns)) * num_groups
        grids[kind].append([num_groups, 2 * rows, 2 * columns])
    found, _ = model.get_rope_index(
        torch.zeros((1, len(kinds)), dtype=torch.long),
        mm_token_type_ids=torch.tensor([kinds], dtype=torch.int),
        image_grid_thw=torch.tensor(grids[1]) if grids[1] else None,
        video_grid_thw=torch.tensor(grids[2]),
    )
    numbers: list[list[int]] = found[:, 0].tolist()
    return numbers


def _module() -> Any:
    return import_module("transformers.models.qwen3_vl.video_processing_qwen3_vl")
