"""Bytes from a stranger -> the frames that were taken of a video, or a clear refusal."""

import io
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from gateway.errors import InvalidVideo
from gateway.vision.animation import read_animation
from gateway.vision.video import Frame, Sampler, Video, VideoLimits

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.sidedata.sidedata import SideData
    from av.video.stream import VideoStream

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF????WEBP")
# Files that hold all there is to them: others, such as playlists, name further files and addresses, which
# FFmpeg would open.
_OPTIONS = {"format_whitelist": "mov,matroska", "protocol_whitelist": ""}
# By x and y of where the stored picture's rightward axis leads, then its downward axis.
_TURNS = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


def open_video(data: bytes, sample: Sampler, limits: VideoLimits) -> Video:
    """An MP4, MOV, WebM or MKV file, or an animated picture; the bytes decide what it is, not what the
    client called it. Only the frames that `sample` chooses are kept, turned upright. Raises InvalidVideo. For
    one thread at a time: see `open_image`."""
    if any(_begins(data, picture) for picture in _PICTURES):
        return read_animation(data, sample, limits)
    try:
        import av
    except ImportError:
        raise InvalidVideo(
            "This server reads no video files, for its video library is not installed (pip install "
            "'axgate[video]'). Frames and animated GIF, PNG and WebP files need no library."
        ) from None
    try:
        with av.open(io.BytesIO(data), "r", options=_OPTIONS) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                raise InvalidVideo("The file has no video in it.")
            return _frames(container, stream, sample, limits)
    except InvalidVideo:
        raise
    except Exception as error:  # FFmpeg's errors have no class in common with those of its Python side
        raise InvalidVideo(
            "You uploaded an unsupported video. Please make sure your video is valid and has one of the "
            "following formats: ['mp4', 'mov', 'webm', 'mkv', 'gif', 'png', 'webp']."
        ) from error


def _begins(data: bytes, pattern: bytes) -> bool:
    """`?` is any byte."""
    return len(data) >= len(pattern) and all(
        want in (have, ord("?")) for have, want in zip(data, pattern, strict=False)
    )


@dataclass(frozen=True, slots=True)
class _Index:
    """When the frames are shown, in order, and at which of these moments decoding can begin, in units of the
    stream; `duration_s` is that of them all."""

    moments: Sequence[int]
    keys: Sequence[int]
    duration_s: float


def _frames(
    container: "InputContainer", stream: "VideoStream", sample: Sampler, limits: VideoLimits
) -> Video:
    begun_s = monotonic()
    limits.check_size(stream.width, stream.height)
    # Frames may be larger than the header says; twice, for decoders round up to whole blocks.
    stream.codec_context.options = {"max_pixels": str(2 * limits.max_pixels)}
    limits.check_duration(_promised_s(container, stream))
    index = _read_index(container, stream, limits, begun_s)
    limits.check_duration(index.duration_s)
    num_frames = len(index.moments)
    moments = [index.moments[place] for place in sample(num_frames, num_frames / index.duration_s)]
    frames: list[Frame] = []
    position = None
    for moment in moments:
        key = index.keys[max(0, bisect_right(index.keys, moment) - 1)]
        if position is None or key > position:
            container.seek(key, stream=stream)
            decoded = container.decode(stream)
        frame = _until(moment, decoded, limits, begun_s)
        position = frame.pts
        limits.check_size(frame.width, frame.height)
        picture = limits.fitted(_upright(frame), len(moments))
        frames.append(Frame(picture, (moment - index.moments[0]) * _unit_s(stream)))
    return Video(tuple(frames), index.duration_s)


def _promised_s(container: "InputContainer", stream: "VideoStream") -> float:
    """How long the video is by the file's header, which says nothing, and here 0, where it was written before
    the end was known."""
    if stream.duration:
        return stream.duration * _unit_s(stream)
    return (container.duration or 0) / 1e6


def _read_index(
    container: "InputContainer", stream: "VideoStream", limits: VideoLimits, begun_s: float
) -> _Index:
    """Reads through the file and decodes nothing."""
    moments, keys, last = [], [], 0
    for packet in container.demux(stream):
        limits.check_time(begun_s)
        if packet.is_corrupt:
            raise _cut_off()
        if packet.size and packet.pts is not None and not packet.is_discard:
            moments.append(packet.pts)
            last = packet.duration or last
            if packet.is_keyframe:
                keys.append(packet.pts)
    if not moments:
        raise InvalidVideo("The video has no frames.")
    moments.sort()
    span = moments[-1] - moments[0]
    shown = last or span // (len(moments) - 1 or 1)  # the last frame
    duration_s = (span + shown) * _unit_s(stream) or 1 / float(stream.average_rate or 1)
    # Some headers count from the first frame, some from 0; and sound may go on for a little longer.
    end_s = max(duration_s, (moments[-1] + shown) * _unit_s(stream))
    promised_s = _promised_s(container, stream)
    if end_s < promised_s - max(1.0, promised_s / 10):
        raise _cut_off()
    return _Index(moments, sorted(keys) or moments[:1], duration_s)


def _until(moment: int, decoded: "Iterator[VideoFrame]", limits: VideoLimits, begun_s: float) -> "VideoFrame":
    """The frame that is shown at a moment, one of the next."""
    for frame in decoded:
        limits.check_time(begun_s)
        if frame.pts is not None and frame.pts >= moment:
            return frame
    raise _cut_off()


def _unit_s(stream: "VideoStream") -> float:
    return float(stream.time_base or 1)


def _cut_off() -> InvalidVideo:
    return InvalidVideo("The video is truncated: its header promises more than there is in the file.")


def _upright(frame: "VideoFrame") -> Image.Image:
    """As RGB, turned as the camera was held: the display matrix says where the axes of the stored picture
    lead (ISO/IEC 14496-12, tkhd)."""
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    right_x, right_y, _, down_x, down_y = np.sign(
        np.frombuffer(bytes(cast("SideData", matrix)), np.int32)[:5]
    ).tolist()
    turn = _TURNS.get((right_x, right_y, down_x, down_y))
    return image if turn is None else image.transpose(turn)
