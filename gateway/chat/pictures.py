"""The pictures of a request: fetched all at the same time, prepared one at a time."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gateway.chat.content import ImagePart
from gateway.chat.media import MediaFetcher
from gateway.errors import InvalidRequest
from gateway.vision.encoder import Pixels, VisionEncoder
from gateway.vision.image import open_image


class PictureReader:
    """Turns pictures into what the vision graph takes. A decoded picture may need hundreds of megabytes and
    seconds of work, so one thread decodes and prepares them all, one after the other, and does nothing else:
    there is never more than one decoded picture, and text waits for none."""

    def __init__(self, encoder: VisionEncoder, media: MediaFetcher, max_pixels: int) -> None:
        self._encoder = encoder
        self._media = media
        self._max_pixels = max_pixels
        self._thread = ThreadPoolExecutor(1, "pictures")

    def close(self) -> None:
        """What waits to be prepared never is."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def read(self, parts: Sequence[ImagePart]) -> list[Pixels]:
        """In the order of `parts`; the same URL once. Raises InvalidRequest and its kinds, for the first
        picture that fails."""
        turn = asyncio.Lock()  # a request has one picture in line at a time, so that requests alternate

        async def pixels(part: ImagePart) -> Pixels:
            try:
                file = await self._media.fetch(part)
                async with turn:
                    loop = asyncio.get_running_loop()
                    return await loop.run_in_executor(self._thread, self._prepare, file)
            except InvalidRequest as error:
                if error.param is None:  # OpenAI names no field here, yet people want to know which picture
                    raise type(error)(f"{error.message} ({part.param})", code=error.code) from error
                raise

        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    part.url: group.create_task(pixels(part)) for part in {p.url: p for p in parts}.values()
                }
        except ExceptionGroup as failed:
            # One sentence is enough for the client; the other downloads have been cancelled.
            raise failed.exceptions[0] from None
        return [tasks[part.url].result() for part in parts]

    def _prepare(self, file: bytes) -> Pixels:
        return self._encoder.prepare(open_image(file, self._max_pixels))
