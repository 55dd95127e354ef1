"""One model as chat sees it: messages in, a prompt out; outputs in, text out."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import numpy as np

from backends.base import PackageError
from gateway.chat.content import ImagePart, Message
from gateway.chat.expand import expand
from gateway.chat.generation import GenerationDefaults
from gateway.chat.media import MediaFetcher
from gateway.chat.reply import Delta, ReplyReader, Usage
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.engine.prompt import Output, Prompt, text_positions
from gateway.errors import ContextLengthExceeded, EngineFailure, InvalidRequest
from gateway.vision.encoder import Pixels, VisionEncoder
from gateway.vision.image import open_image


class ChatModel:
    """`encoder` is None for a model that sees nothing; `context_length` counts prompt and reply together;
    `max_pixels` is the largest picture that is decoded."""

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        encoder: VisionEncoder | None,
        media: MediaFetcher,
        max_pixels: int,
        context_length: int,
        defaults: GenerationDefaults,
    ) -> None:
        self.name = name
        self.context_length = context_length
        self.defaults = defaults
        self._tokenizer = tokenizer
        self._template = template
        self._encoder = encoder
        self._media = media
        self._max_pixels = max_pixels
        self._marker_id = tokenizer.token_id(encoder.spec.marker) if encoder else None
        if encoder and self._marker_id is None:
            raise PackageError(
                f"The tokenizer of {name} has no token {encoder.spec.marker}, the marker of images."
            )

    @property
    def num_tokens_per_image(self) -> int:
        """0 for a model that sees nothing."""
        return self._encoder.num_tokens_per_image if self._encoder else 0

    @property
    def max_images(self) -> int:
        """Pictures that fit into the context beside one token of text."""
        return (self.context_length - 1) // self.num_tokens_per_image if self._encoder else 0

    async def build_prompt(self, messages: Sequence[Message]) -> Prompt:
        """Raises InvalidRequest and its kinds. Whether it fits is settled before anything is downloaded."""
        for index, message in enumerate(messages):
            self._check(message, f"messages[{index}]")
        token_ids = await asyncio.to_thread(self._encode, messages)
        parts = [part for message in messages for part in message.images]
        num_image = len(parts) * self.num_tokens_per_image
        num_text = len(token_ids) - len(parts)
        if num_text + num_image >= self.context_length:
            raise ContextLengthExceeded(self.context_length, num_text, num_image)
        if self._encoder is None or self._marker_id is None:
            return Prompt(np.array(token_ids, dtype=np.int64), text_positions(len(token_ids)), ())
        pictures = await self._pictures(parts, self._encoder)
        return expand(token_ids, self._marker_id, pictures, self._encoder)

    async def read_reply(
        self, prompt: Prompt, outputs: AsyncGenerator[Output], stop: Sequence[str]
    ) -> AsyncGenerator[Delta]:
        """What the client is shown of `outputs`, which are closed (and so cancelled) in every case: when a
        stop string is complete, when the reader of the deltas goes away, and at the end."""
        reader = ReplyReader(self._tokenizer, stop)
        last = None
        async with aclosing(outputs):
            async for output in outputs:
                text = "" if output.token_id is None else reader.push(output.token_id)
                if output.finish_reason is not None and not reader.stopped:
                    text += reader.finish()
                reason = "stop" if reader.stopped else output.finish_reason
                if reason is not None:
                    usage = Usage(prompt.num_tokens, output.num_completion_tokens, output.cached_tokens)
                    last = Delta(text, reason, usage)
                    break
                if text:
                    yield Delta(text)
        if last is None:
            raise EngineFailure("The generation ended without a finish reason.")
        yield last

    def _check(self, message: Message, path: str) -> None:
        if message.images and message.role != "user":
            raise _invalid(
                path,
                "Image URLs are only allowed for messages with role 'user', but this message with role "
                f"'{message.role}' contains an image URL.",
            )
        if message.images and self._encoder is None:
            raise _invalid(path, f"The model '{self.name}' takes no images, but this message contains one.")
        if self._encoder and self._encoder.spec.marker in message.text:
            raise _invalid(
                f"{path}.content", f"The text contains {self._encoder.spec.marker}, which stands for images."
            )
        try:
            message.text.encode()
        except UnicodeEncodeError as error:
            raise _invalid(f"{path}.content", "The text contains half of a surrogate pair.") from error

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        return self._tokenizer.encode(self._template.render(messages))

    async def _pictures(self, parts: Sequence[ImagePart], encoder: VisionEncoder) -> list[Pixels]:
        """In the order of `parts`; all at the same time, the same URL once."""

        async def picture(part: ImagePart) -> Pixels:
            data = await self._media.fetch(part)
            return await asyncio.to_thread(lambda: encoder.prepare(open_image(data, self._max_pixels)))

        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    part.url: group.create_task(picture(part)) for part in {p.url: p for p in parts}.values()
                }
        except ExceptionGroup as failed:
            # One sentence is enough for the client; the other downloads have been cancelled.
            raise failed.exceptions[0] from None
        return [tasks[part.url].result() for part in parts]


def _invalid(param: str, sentence: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}'. {sentence}", param=param, code="invalid_value")
