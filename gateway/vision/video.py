"""Videos as the vision families take them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
from PIL import Image

from gateway.errors import InvalidVideo
from gateway.vision.image import excess

MAX_DURATION_S = 3600.0
MAX_LISTED = 1024
"""Frames, where a video comes as a list of them."""
TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """An upright RGB picture, `time_s` seconds after the beginning of its video."""

    image: Image.Image
    time_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """The frames that were taken of a video, at least one, in order; `duration_s` is that of the whole."""

    frames: tuple[Frame, ...]
    duration_s: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How many frames are asked for: `fps` of each second or `num_frames` in all; None leaves it to the
    model."""

    fps: float | None = None
    num_frames: int | None = None

    def num_taken(self, num_listed: int, max_frames: int) -> int:
        """Of a list of frames, by a model that takes at most `max_frames`."""
        return min(num_listed, self.num_frames or max_frames)


Sampler = Callable[[int, float], Sequence[int]]
"""From the number of frames of a video, at least one, and how many a second has on average: which are taken,
at least one, in order."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Of one video: `max_pixels` of one frame, and of all taken frames together, which are made smaller where
    they have more; its duration; and the time for decoding it. The checks raise InvalidVideo."""

    max_pixels: int
    max_duration_s: float = MAX_DURATION_S
    timeout_s: float = TIMEOUT_S

    def check_size(self, width: int, height: int) -> None:
        if too_much := excess(width, height, self.max_pixels):
            raise InvalidVideo(f"The video is too large: {too_much}.")

    def check_duration(self, duration_s: float) -> None:
        if duration_s > self.max_duration_s:
            raise InvalidVideo(
                f"The video is too long: {duration_s:.0f} seconds, more than {self.max_duration_s:g}."
            )

    def check_time(self, begun_s: float) -> None:
        """Of decoding that began when `monotonic` said so."""
        if monotonic() > begun_s + self.timeout_s:
            raise InvalidVideo(
                f"The video takes too long to decode: more than {self.timeout_s:g} seconds. A shorter or "
                "smaller one, or one with more key frames, takes less."
            )

    def fitted(self, image: Image.Image, num_frames: int) -> Image.Image:
        """A frame as it is kept beside `num_frames` - 1 others."""
        surplus = image.width * image.height * num_frames / self.max_pixels
        if surplus <= 1:
            return image
        width, height = (max(1, int(edge / surplus**0.5)) for edge in image.size)
        return image.resize((width, height), Image.Resampling.BICUBIC)


def spread(num_frames: int, number: int) -> list[int]:
    """`number` of so many frames, from the first to the last, as far apart as they can be."""
    return np.linspace(0, num_frames - 1, number).round().astype(int).tolist()  # type: ignore[no-any-return]
