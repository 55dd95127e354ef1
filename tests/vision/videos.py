"""Videos made by a formula, and files made of them."""

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

from tests.vision.pictures import encoded

STEP = 8
"""How much brighter each frame of `greys` is than the one before."""


def greys(number: int, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """Frames that tell their place: see `places`."""
    return [Image.new("RGB", size, (place * STEP,) * 3) for place in range(number)]


def places(frames: Sequence[Image.Image]) -> list[int]:
    """Which of `greys` these are, whatever a codec has done to them."""
    return [round(float(np.asarray(frame).mean()) / STEP) for frame in frames]


def video_file(
    frames: Sequence[Image.Image],
    moments: Sequence[int] | None = None,
    *,
    fps: int = 10,
    format: str = "mp4",
    codec: str = "libx264",
    gop: int = 10,
    **options: str,
) -> bytes:
    """With a key frame at least every `gop` frames, and in x264's case frames that depend on later ones.
    `moments` are when frames begin, in units of 1 / fps seconds; without them, one follows the other.
    `options` are those of FFmpeg for the format."""
    file = io.BytesIO()
    with av.open(file, "w", format=format, options=options) as container:
        stream = container.add_stream(codec, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p" if all(edge % 2 == 0 for edge in frames[0].size) else "yuv444p"
        stream.gop_size, stream.bit_rate = gop, 10**6
        for place, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            frame.pts, frame.time_base = (moments[place] if moments else place), Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def sound_file() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        assert isinstance(stream, av.AudioStream)
        silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    return file.getvalue()


def turned(file: bytes, right: tuple[int, int], down: tuple[int, int]) -> bytes:
    """An MP4 file with another display matrix: where the stored picture's axes lead on the screen."""
    fixed = [each << 16 for each in (*right, 0, *down, 0, 0, 0)]
    matrix = struct.pack(">9i", *fixed, 1 << 30)
    place = file.index(b"tkhd") + 44
    return file[:place] + matrix + file[place + len(matrix) :]


def animation(frames: Sequence[Image.Image], format: str = "GIF", duration: Any = 500, **more: Any) -> bytes:
    """`duration` of each frame in milliseconds, or of all of them."""
    first, *others = frames
    return encoded(first, format, save_all=True, append_images=others, duration=duration, **more)
