"""Qwen2-VL and Qwen2.5-VL: one fixed size, and a video as one block of the prompt.

Sources: transformers 5.23, Qwen2VLProcessor and Qwen2_5_VLProcessor (prompt form, seconds of a group),
Qwen2VLVideoProcessor (which frames), `get_rope_index` of both (times); the published AX650N packages (one
output).
"""

from typing import ClassVar

import numpy as np

from backends.base import Graph
from gateway.vision.encoder import Features, Pixels, Visual, finite, only_output
from gateway.vision.layout import Layout, Tile
from gateway.vision.qwen_vl import QwenVL, QwenVLSpec
from gateway.vision.spec import Count, VisionSpec
from gateway.vision.video import Pace, Video


class Qwen2VLSpec(QwenVLSpec):
    """`tokens_per_second` is how far time moves on in a second of video (Qwen2.5-VL); null: by one with each
    group of frames, whatever time has passed (Qwen2-VL)."""

    tokens_per_second: Count | None = None


class Qwen2VL(QwenVL[Qwen2VLSpec]):
    family: ClassVar[str] = "qwen2_vl"
    spec_type: ClassVar[type[VisionSpec]] = Qwen2VLSpec

    def sample(self, num_frames: int, rate: float, pace: Pace) -> list[int]:
        """Whole groups, and each frame at the beginning of its share of the video; all of a video that is
        shorter than a group."""
        assert self.spec.video is not None
        size, video = self.spec.temporal_patch_size, self.spec.video
        most = min(video.max_frames, num_frames) // size
        if most == 0:
            return list(range(min(video.max_frames, num_frames)))
        if pace.num_frames is not None:
            num_groups = round(pace.num_frames / size)
        else:
            wanted = num_frames / rate * (pace.fps or video.fps)
            num_groups = int(max(wanted, video.min_frames) / size)
        number = max(1, min(num_groups, most)) * size
        return [int(np.float32(place * (num_frames / number))) for place in range(number)]

    def prepare_video(self, video: Video) -> Visual:
        assert self.spec.video is not None
        groups = self.groups(video)
        tiles = tuple(
            Tile(self.spec.grid, time=time, continues=place > 0)
            for place, time in enumerate(self._times(video, len(groups)))
        )
        pixels = tuple(
            self.pixels(self.patches([self.stretched(frame.image) for frame in group])) for group in groups
        )
        return Visual(Layout(self.spec.video.placeholder * len(groups), tiles), pixels)

    def _times(self, video: Video, num_groups: int) -> list[int]:
        """Of each group of frames, in steps after the first. Rounded down in float32, as the reference does,
        and not before they are multiplied."""
        per_second = self.spec.tokens_per_second
        seconds = self.spec.temporal_patch_size * video.duration_s / len(video.frames)
        interval = 1 if per_second is None else per_second * seconds
        times = np.arange(num_groups, dtype=np.float32) * np.float32(interval)
        return times.astype(np.int64).tolist()  # type: ignore[no-any-return]

    def check(self, graph: Graph, hidden_size: int) -> None:
        only_output(graph, self.smallest.num_tokens, hidden_size)

    def encode(self, graph: Graph, pixels: Pixels) -> Features:
        (embeds,) = graph.run({graph.inputs[0].name: pixels.data}).values()
        return finite(embeds.reshape(self.smallest.num_tokens, -1))
