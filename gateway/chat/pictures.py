"""The pictures and videos of a request: fetched all at the same time, prepared one at a time."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

from PIL import Image

from gateway.chat.content import ImagePart, Link, VideoPart
from gateway.chat.media import IMAGE, VIDEO, Downloads, Kind, MediaFetcher, inline_frames
from gateway.errors import InvalidRequest, StillPicture
from gateway.vision.cache import DigestCache
from gateway.vision.encoder import VisionEncoder, Visual
from gateway.vision.image import open_image
from gateway.vision.spec import VisionSpec
from gateway.vision.video import Frame, Video, VideoLimits, spread
from gateway.vision.video_file import open_video

MAX_PREPARED_BYTES = 64_000_000
"""Pixels of pictures and videos that are kept for the next turn, in which the same files come again."""


@dataclass(frozen=True, slots=True)
class Work:
    """`prepare` is what makes a visual of `files`; with the same files and `how`, it makes the same."""

    prepare: Callable[[], Visual]
    files: tuple[bytes, ...]
    how: object

    def digest(self) -> bytes:
        told = [repr(self.how).encode(), *(sha256(file).digest() for file in self.files)]
        return sha256(b"".join(told)).digest()


class PictureReader:
    """Turns pictures and videos into what the vision graph takes. Decoding one may need hundreds of megabytes
    and seconds of work, so one thread decodes and prepares them all, one after the other, and does nothing
    else: there is never more than one decoded, and text waits for none. What was prepared is kept."""

    def __init__(self, encoder: VisionEncoder[VisionSpec], media: MediaFetcher, max_pixels: int) -> None:
        self._encoder = encoder
        self._media = media
        self._limits = VideoLimits(max_pixels)
        self._thread = ThreadPoolExecutor(1, "pictures")
        self._prepared = DigestCache[Visual](MAX_PREPARED_BYTES)

    def close(self) -> None:
        """What waits to be prepared never is."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def read(self, parts: Sequence[ImagePart | VideoPart]) -> list[Visual]:
        """In the order of `parts`; what is there several times is read once. Raises InvalidRequest and its
        kinds, for the first that fails."""
        downloads = self._media.downloads()
        turn = asyncio.Lock()  # a request has one of them in line at a time, so that requests alternate

        async def visual(part: ImagePart | VideoPart) -> Visual:
            if isinstance(part, ImagePart):
                work = await self._image(part, downloads)
            else:
                work = await self._video(part, downloads)
            async with turn:
                return await self._visual(work)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    part.key: group.create_task(visual(part)) for part in {p.key: p for p in parts}.values()
                }
        except ExceptionGroup as failed:
            # One sentence is enough for the client; the other downloads have been cancelled.
            raise _first(failed) from None
        return [tasks[part.key].result() for part in parts]

    async def _visual(self, work: Work) -> Visual:
        digest = await asyncio.to_thread(work.digest)
        visual = self._prepared.get(digest)
        if visual is None:
            visual = await asyncio.get_running_loop().run_in_executor(self._thread, work.prepare)
            self._prepared.put(digest, visual)
        return visual

    async def _image(self, part: ImagePart, downloads: Downloads) -> Work:
        file = await self._fetch(part, IMAGE, downloads)
        return Work(lambda: self._encoder.prepare(self._opened(part, file)), (file,), "image")

    async def _video(self, part: VideoPart, downloads: Downloads) -> Work:
        if isinstance(part.source, tuple):
            return await self._frames(part.source, part, downloads)
        link = part.source
        with _named(link.param):
            frames = inline_frames(link)
        if frames:
            return await self._frames(frames, part, downloads)
        file = await self._fetch(link, VIDEO, downloads)

        def prepare() -> Visual:
            with _named(link.param):
                try:
                    video = open_video(
                        file, lambda number, rate: self._encoder.sample(number, rate, part.pace), self._limits
                    )
                except StillPicture as error:
                    raise StillPicture(error.message, param=f"{part.param}.type") from error
            return self._encoder.prepare_video(video)

        return Work(prepare, (file,), part.pace)

    async def _frames(self, links: Sequence[Link], part: VideoPart, downloads: Downloads) -> Work:
        """Only those are fetched that are taken."""
        spec = self._encoder.spec.video
        assert spec is not None
        rate = part.pace.fps or spec.fps
        with _named(part.param):
            self._limits.check_duration(len(links) / rate)
        chosen = spread(len(links), part.pace.num_taken(len(links), spec.max_frames))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._fetch(links[place], IMAGE, downloads)) for place in chosen]

        def prepare() -> Visual:
            frames = []
            for place, task in zip(chosen, tasks, strict=True):
                image = self._opened(links[place], task.result())
                frames.append(Frame(self._limits.fitted(image, len(chosen)), place / rate))
            return self._encoder.prepare_video(Video(tuple(frames), len(links) / rate))

        return Work(prepare, tuple(task.result() for task in tasks), (len(links), part.pace))

    async def _fetch(self, link: Link, kind: Kind, downloads: Downloads) -> bytes:
        with _named(link.param):
            return await self._media.fetch(link, kind, downloads)

    def _opened(self, link: Link, file: bytes) -> Image.Image:
        with _named(link.param):
            return open_image(file, self._limits.max_pixels)


@contextmanager
def _named(param: str) -> Iterator[None]:
    """OpenAI's errors about pictures name no field, yet people want to know which it was."""
    try:
        yield
    except InvalidRequest as error:
        if error.param is not None:
            raise
        raise type(error)(f"{error.message} ({param})", code=error.code) from error


def _first(failed: BaseException) -> BaseException:
    return _first(failed.exceptions[0]) if isinstance(failed, BaseExceptionGroup) else failed
