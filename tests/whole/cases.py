"""The models and prompts of the whole path. Their seeds are such that greedy decoding is well defined for 64
tokens: no token leads by less than bf16 logits can tell apart (scripts/golden/whole_path.py finds them)."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from backends.base import Array
from gateway.vision.video import Frame, Video
from tests.export.cases import FRAMES, MERGE, PATCH, Case
from tests.export.checkpoints import FIRST_TEXT_ID, VIDEO_PAD, VISION_END, VISION_START


@dataclass(frozen=True)
class VideoCase(Case):
    """A prompt with one video that is one block, in place of pictures."""

    num_frames: int = 5
    duration_s: float = 4.0

    @property
    def num_groups(self) -> int:
        return -(-self.num_frames // FRAMES)

    def frames(self) -> Array:
        """(num_frames, rows, columns, 3) uint8, RGB."""
        rng = np.random.default_rng(self.seed + 1)
        return rng.integers(0, 256, (self.num_frames, *self.picture_size, 3), dtype=np.uint8)

    def video(self) -> Video:
        step_s = self.duration_s / self.num_frames
        frames = [Frame(Image.fromarray(frame), place * step_s) for place, frame in enumerate(self.frames())]
        return Video(tuple(frames), self.duration_s)

    def token_ids(self) -> Array:
        rng = np.random.default_rng(self.seed + 2)
        rows, columns = self.picture_size
        pads = [VIDEO_PAD] * (self.num_groups * rows * columns // (PATCH * MERGE) ** 2)
        before, after = (rng.integers(FIRST_TEXT_ID, 512, number).tolist() for number in (14, 8))
        return np.array([*before, VISION_START, *pads, VISION_END, *after])


CASES = {
    "text only": Case({"tied": False}, num_pictures=0, seed=51),
    "text only, tied": Case({"kv_heads": 1}, num_pictures=0),
    "Qwen2 text": Case({"model_type": "qwen2", "tied": False}, num_pictures=0, seed=8),
    "Llama text": Case({"model_type": "llama", "tied": False}, num_pictures=0, seed=15),
    "two heads a k/v head, two levels": Case({"tied": False}, seed=26),
    "one k/v head, one level": Case(
        {"kv_heads": 1, "num_deepstack": 1, "tied": False}, picture_size=(48, 32)
    ),
    "own k/v heads, three levels, wide heads": Case(
        {"heads": 2, "kv_heads": 2, "head_dim": 32, "num_deepstack": 3, "tied": False, "dtype": np.float16},
    ),
    "Qwen2-VL": Case({"tied": False}, seed=11, family="qwen2_vl"),
    "Qwen2-VL, two pictures": Case(
        {"kv_heads": 4, "tied": False}, picture_size=(32, 32), num_pictures=2, seed=51, family="qwen2_vl"
    ),
    "Qwen2.5-VL, windows cut off": Case({"tied": False}, picture_size=(48, 80), seed=17, family="qwen2_5_vl"),
    "Qwen2.5-VL, two pictures": Case(
        {"kv_heads": 1, "tied": False}, picture_size=(48, 32), num_pictures=2, seed=62, family="qwen2_5_vl"
    ),
    "Qwen2-VL, a video": VideoCase({"tied": False}, seed=9, family="qwen2_vl"),
    "Qwen2.5-VL, a video": VideoCase({"tied": False}, seed=9, family="qwen2_5_vl"),
    "Qwen2.5-VL, a long video": VideoCase(
        {"tied": False}, picture_size=(48, 32), seed=17, num_frames=6, duration_s=20.0, family="qwen2_5_vl"
    ),
    "two pictures": Case({"tied": False}, num_pictures=2, picture_size=(32, 32), seed=4),
    "two pictures, tied": Case({"head_dim": 32}, num_pictures=2),
}
