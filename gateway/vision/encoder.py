"""What every vision family provides: host `prepare`, device `encode`, and where its tokens stand."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
from PIL import Image

from backends.base import Array, Graph, PackageError, TensorSpec
from gateway.errors import EngineFailure
from gateway.vision.layout import Layout, Span
from gateway.vision.positions import text_positions
from gateway.vision.spec import VisionSpec
from gateway.vision.video import Frame, Pace, Video, spread

Spec = TypeVar("Spec", bound=VisionSpec, covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """One run of the vision graph: exactly what it takes.

    data:   the graph's input, in its dtype and shape
    digest: of `data` and the entry that prepared it, so equal digests mean equal features
    """

    data: Array
    digest: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the encoder made of pixels: embeds and deepstack travel together.

    embeds: (num_tokens, hidden) float32; deepstack: per level, the same shape
    """

    embeds: Array
    deepstack: tuple[Array, ...]

    @property
    def nbytes(self) -> int:
        return int(self.embeds.nbytes) + sum(int(level.nbytes) for level in self.deepstack)


@dataclass(frozen=True, slots=True, eq=False)
class Visual:
    """A picture or a video, prepared: `pixels[k]` is what the features of `layout.tiles[k]` are made of."""

    layout: Layout
    pixels: tuple[Pixels, ...]

    @property
    def nbytes(self) -> int:
        """Each array once: a run may make the features of several tiles."""
        return sum({id(each.data): int(each.data.nbytes) for each in self.pixels}.values())


class VisionEncoder(ABC, Generic[Spec]):
    """One family, for one vision graph. `prepare` runs where the request is read, `encode` where the device
    is."""

    family: ClassVar[str]
    spec_type: ClassVar[type[VisionSpec]]
    has_own_prefix: ClassVar[bool] = False
    """Whether layer files with this family's prefixes are no text model's, so that a package of them without
    a vision graph lacks something."""

    def __init__(self, name: str, spec: Spec, graph_input: TensorSpec) -> None:
        """`name` is the entry's; `graph_input` is one of `spec.inputs`."""
        self.name = name
        self.spec = spec
        self.graph_input = graph_input
        self._smallest_videos: dict[int, Layout] = {}  # by the number of frames

    @property
    @abstractmethod
    def smallest(self) -> Layout:
        """The layout of a picture that takes the fewest tokens."""

    @property
    @abstractmethod
    def largest(self) -> Layout:
        """The layout of a picture that takes the most tokens."""

    @abstractmethod
    def prepare(self, image: Image.Image) -> Visual:
        """An upright RGB picture of any size -> what the graph takes, and how it stands in the prompt."""

    def prepare_video(self, video: Video) -> Visual:
        """For entries that have a `video`: its frames -> what the graph takes, and how it stands in the
        prompt."""
        raise NotImplementedError

    def smallest_video(self, num_frames: int = 1) -> Layout:
        """For entries that have a `video`: the layout of one of so many frames that takes the fewest
        tokens."""
        if num_frames not in self._smallest_videos:
            frame = Frame(Image.new("RGB", (1, 1)), 0.0)
            visual = self.prepare_video(Video((frame,) * num_frames, 1.0))
            self._smallest_videos[num_frames] = visual.layout
        return self._smallest_videos[num_frames]

    def sample(self, num_frames: int, rate: float, pace: Pace) -> list[int]:
        """Which of the frames of a video, `rate` of them a second, are taken: at most `video.max_frames`,
        from the first to the last (transformers 5.23, qwen3_vl/video_processing_qwen3_vl.py)."""
        video = self.spec.video
        assert video is not None
        number = pace.num_frames
        if number is None:
            number = max(int(num_frames / rate * (pace.fps or video.fps)), video.min_frames)
        return spread(num_frames, min(number, video.max_frames, num_frames))

    def load(self, package: Path) -> None:
        """Read what `encode` needs beside the graph from the package's folder. Raises PackageError."""

    @abstractmethod
    def check(self, graph: Graph, hidden_size: int) -> None:
        """Whether the outputs of a vision graph fit this entry and the language model; raises PackageError
        naming the output, what was expected and what was found."""

    @abstractmethod
    def encode(self, graph: Graph, pixels: Pixels) -> Features:
        """Run the vision graph on the device. Raises EngineFailure for values that are not finite."""

    def positions(self, num_tokens: int, spans: Sequence[Span]) -> Array:
        """(3, num_tokens) uint32 position ids of a prompt with placeholders at `spans`."""
        return text_positions(num_tokens)

    def pixels(self, data: Array) -> Pixels:
        """Pixels of a graph input, with their digest."""
        data = np.ascontiguousarray(data)
        digest = hashlib.blake2b(self.name.encode(), digest_size=16)
        digest.update(data.data)
        return Pixels(data, digest.digest())


def only_output(graph: Graph, num_rows: int, hidden_size: int) -> str:
    """The name of a vision graph's one output, which is to hold `num_rows` rows of `hidden_size`, whatever
    axes of size 1 or per tile it has before. Raises PackageError with what was found."""
    found = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in graph.outputs)
    if len(graph.outputs) == 1:
        (output,) = graph.outputs
        if output.shape[-1:] == (hidden_size,) and np.prod(output.shape) == num_rows * hidden_size:
            return output.name
    raise PackageError(
        f"The vision graph's outputs are {found}, expected one of [{num_rows}, {hidden_size}], the tokens of "
        "one run by the hidden size."
    )


def finite(embeds: Array, *deepstack: Array) -> Features:
    """Features of float arrays of any kind; raises EngineFailure unless all values are finite."""
    levels = tuple(level.astype(np.float32) for level in (embeds, *deepstack))
    if not all(np.isfinite(level).all() for level in levels):
        raise EngineFailure("The vision graph gave values that are not finite.")
    return Features(levels[0], levels[1:])
