"""Qwen3-VL: one fixed size, deepstack features beside the embeds, and a video as pairs of frames with times.

Sources: the published AX650N packages (output names); transformers 5.23, qwen3_vl/processing_qwen3_vl.py (the
prompt form of videos).
"""

from collections.abc import Collection
from typing import ClassVar

from backends.base import Graph, PackageError, TensorSpec
from gateway.vision.encoder import Features, Pixels, Visual, finite
from gateway.vision.layout import Layout, Tile
from gateway.vision.qwen_vl import QwenVL, QwenVLSpec
from gateway.vision.spec import VisionSpec
from gateway.vision.video import Video


class Qwen3VLSpec(QwenVLSpec):
    """The marker of videos is what each group of frames is written as, so it holds the placeholder."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        video = self.video
        if video is not None and video.marker.count(video.placeholder) != 1:
            raise ValueError(
                f"field 'video.marker': expected one {video.placeholder} in it, got {video.marker}"
            )
        return super().inputs


class Qwen3VL(QwenVL[Qwen3VLSpec]):
    family: ClassVar[str] = "qwen3_vl"
    spec_type: ClassVar[type[VisionSpec]] = Qwen3VLSpec

    def prepare_video(self, video: Video) -> Visual:
        """Each group of frames is a block of its own: the time at its middle, then what the marker was."""
        assert self.spec.video is not None
        groups = self.groups(video)
        times_s = [(group[0].time_s + group[-1].time_s) / 2 for group in groups]
        text = "".join(f"<{time_s:.1f} seconds>{self.spec.video.marker}" for time_s in times_s)
        pixels = tuple(
            self.pixels(self.patches([self.stretched(frame.image) for frame in group])) for group in groups
        )
        return Visual(Layout(text, (Tile(self.spec.grid),) * len(groups)), pixels)

    def check(self, graph: Graph, hidden_size: int) -> None:
        found = {tensor.name: tensor.shape for tensor in graph.outputs}
        expected = (self.smallest.num_tokens, hidden_size)
        for name in _outputs(found):
            if found.get(name) != expected:
                shape = list(found[name]) if name in found else "missing"
                raise PackageError(f"The vision graph's output {name} is {shape}, expected {list(expected)}.")

    def encode(self, graph: Graph, pixels: Pixels) -> Features:
        outputs = graph.run({graph.inputs[0].name: pixels.data})
        return finite(*(outputs[name] for name in _outputs(outputs)))


def _outputs(names: Collection[str]) -> list[str]:
    """The outputs that are read, in order: embeds, then deepstack by level."""
    num_levels = sum(name.startswith("deepstack_feature_") for name in names)
    return ["hidden_states_out", *(f"deepstack_feature_{level}" for level in range(num_levels))]
