"""What transformers makes of videos for Qwen2-VL and Qwen2.5-VL, for the golden file and for the tests that
compare with it."""

import sys
from functools import cache
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from gateway.vision.video import Frame
from tests.vision.entries import encoder
from tests.vision.pictures import pattern
from tests.vision.reference import digest

TORCHVISION = ("torchvision", *(f"torchvision.transforms{part}" for part in ("", ".v2", ".v2.functional")))

# Frames of a video, how many a second, how many a second are asked for (0 leaves it to the model), and how
# many in all (0 leaves it to the model).
SAMPLES = [
    (2, 25.0, 0, 0),
    (3, 2.0, 0, 0),
    (5, 2.0, 0, 0),
    (10, 25.0, 0, 0),
    (30, 10.0, 0, 0),
    (100, 25.0, 0, 0),
    (100, 29.97, 1, 0),
    (101, 25.0, 5, 0),
    (7, 1.0, 0, 0),
    (10_000, 24.0, 0, 0),
    (100, 25.0, 0, 6),
    (100, 25.0, 0, 5),
    (9, 25.0, 0, 7),
]


FRAMES = tuple(Frame(pattern(40 + place, 30), place / 2) for place in range(5))


def golden() -> dict[str, Any]:
    return {
        "samples": {str(each): sampled(*each) for each in SAMPLES},
        "patches": {entry: patches(entry) for entry in ("qwen2.5-vl-308", "qwen2-vl-448")},
    }


def sampled(
    num_frames: int, rate: float, fps: float, number: int, entry: str = "qwen2.5-vl-308"
) -> list[int]:
    """`sample_frames`, with the limits of the entry."""
    from transformers.video_utils import VideoMetadata

    video = encoder(entry).spec.video
    limits = SimpleNamespace(
        fps=None if number else video.fps,
        num_frames=None,
        temporal_patch_size=2,
        min_frames=video.min_frames,
        max_frames=video.max_frames,
    )
    metadata = VideoMetadata(total_num_frames=num_frames, fps=rate)
    found = _processor().sample_frames(limits, metadata, num_frames=number or None, fps=fps or None)
    return [int(place) for place in found]


def patches(entry: str) -> list[str]:
    """Digests of what `patchify` makes of five frames, one for each group: see `reference.patches`."""
    import torch

    spec = encoder(entry).spec
    images = [frame.image.resize((spec.width, spec.height), Image.Resampling.BICUBIC) for frame in FRAMES]
    videos = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)[None]
    sizes = (spec.patch_size, spec.merge_size, spec.temporal_patch_size)
    flat, num_groups, _, _ = _processor().patchify(None, videos, *sizes)
    groups = flat.numpy().reshape(num_groups, -1, 3, spec.temporal_patch_size * spec.patch_size**2)
    return [digest(group.transpose(0, 2, 1)[np.newaxis]) for group in groups]


@cache
def _processor() -> Any:
    """The class, whose module asks for torchvision, though the methods that are called need none."""
    import transformers.video_processing_utils  # noqa: F401 - so that nothing else is loaded below

    empty = {name: ModuleType(name) for name in TORCHVISION}
    for name, parent in zip(TORCHVISION[1:], TORCHVISION, strict=False):
        setattr(empty[parent], name.rsplit(".", 1)[1], empty[name])
    with patch.dict(sys.modules, empty):
        module = import_module("transformers.models.qwen2_vl.video_processing_qwen2_vl")
    return module.Qwen2VLVideoProcessor
