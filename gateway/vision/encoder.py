"""What every vision family provides: host `prepare`, device `encode`, and where its tokens stand."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from PIL import Image

from backends.base import Array, Graph, TensorSpec
from gateway.vision.spec import VisionSpec


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """One prepared picture: exactly what the vision graph takes, and what its tokens will be.

    data:   the graph's input, in its dtype and shape
    grid:   rows and columns of placeholders; num_tokens of them in all
    digest: of `data` and the entry that prepared it, so equal digests mean equal features
    """

    data: Array
    grid: tuple[int, int]
    digest: bytes

    @property
    def num_tokens(self) -> int:
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the encoder made of one picture: embeds and deepstack travel together.

    embeds: (num_tokens, hidden) float32; deepstack: per level, the same shape
    """

    embeds: Array
    deepstack: tuple[Array, ...]

    @property
    def nbytes(self) -> int:
        return int(self.embeds.nbytes) + sum(int(level.nbytes) for level in self.deepstack)


@dataclass(frozen=True, slots=True)
class Span:
    """`num_tokens` placeholders of a grid, from position `start` of the prompt on."""

    start: int
    grid: tuple[int, int]

    @property
    def num_tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def stop(self) -> int:
        return self.start + self.num_tokens


class VisionEncoder(ABC):
    """One family. `prepare` runs where the request is read, `encode` where the device is."""

    family: ClassVar[str]

    def __init__(self, spec: VisionSpec) -> None:
        self.spec = spec

    @property
    @abstractmethod
    def num_tokens_per_image(self) -> int:
        """Placeholders that one picture takes."""

    @abstractmethod
    def input_spec(self) -> TensorSpec:
        """The graph input this entry prepares; a graph that differs is refused."""

    @abstractmethod
    def check(self, graph: Graph, hidden_size: int) -> None:
        """Whether the outputs of a vision graph fit this entry and the language model; raises PackageError
        naming the output, what was expected and what was found."""

    @abstractmethod
    def prepare(self, image: Image.Image) -> Pixels:
        """An upright RGB picture of any size -> Pixels."""

    @abstractmethod
    def encode(self, graph: Graph, pixels: Pixels) -> Features:
        """Run the vision graph on the device."""

    @abstractmethod
    def positions(self, num_tokens: int, spans: Sequence[Span]) -> Array:
        """(3, num_tokens) uint32 position ids of a prompt with placeholders at `spans`."""
