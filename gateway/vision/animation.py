"""Animated pictures -> the frames of a video."""

import io
import warnings
from collections.abc import Iterator
from time import monotonic

from PIL import Image

from gateway.errors import InvalidVideo, StillPicture
from gateway.vision.image import FORMATS, upright_rgb
from gateway.vision.video import Frame, Sampler, Video, VideoLimits

# How long a frame is shown that says nothing, or nothing that a person could see: what browsers make of it.
_USUAL_S, _SHORTEST_S = 0.1, 0.011


def read_animation(data: bytes, sample: Sampler, limits: VideoLimits) -> Video:
    """A GIF, PNG or WebP file. Nothing is decoded before the size in the header is found to be within the
    limits. Raises InvalidVideo, also for a still picture, which has a place of its own in a message. For one
    thread at a time: see `open_image`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as file:
                return _frames(file, sample, limits)
        except InvalidVideo:
            raise
        except Exception as error:  # on hostile input Pillow's readers raise about anything
            raise InvalidVideo(
                "The animated picture cannot be read: it is damaged or truncated, or too large."
            ) from error


def _frames(file: Image.Image, sample: Sampler, limits: VideoLimits) -> Video:
    begun_s = monotonic()
    times = [0.0]  # when each frame begins, and the end
    for place in _loaded(file, limits, begun_s):
        shown_s = file.info.get("duration", 0) / 1000
        times.append(times[place] + (shown_s if shown_s >= _SHORTEST_S else _USUAL_S))
    duration_s = times.pop()
    if len(times) == 1:
        raise StillPicture("The video is a still picture: send it as an image_url.")
    limits.check_duration(duration_s)
    chosen = sample(len(times), len(times) / duration_s)
    frames = tuple(
        Frame(limits.fitted(upright_rgb(file), len(chosen)), times[place])
        for place in _loaded(file, limits, begun_s)
        if place in chosen
    )
    return Video(frames, duration_s)


def _loaded(file: Image.Image, limits: VideoLimits, begun_s: float) -> Iterator[int]:
    """The places of the frames, counted from 0; each is there while its place is."""
    # An animated PNG may have a picture for viewers that show no animations.
    num_before = int(getattr(file, "default_image", False))
    for place in range(getattr(file, "n_frames", 1) - num_before):
        limits.check_time(begun_s)
        file.seek(place + num_before)
        limits.check_size(*file.size)
        file.load()
        yield place
