"""One model as chat sees it: messages in, a prompt out; outputs in, text out."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TypeVar

import numpy as np

from backends.base import PackageError
from gateway.chat.content import ImagePart, Message, TextPart
from gateway.chat.expand import expand
from gateway.chat.generation import GenerationDefaults
from gateway.chat.logprobs import LogprobReader
from gateway.chat.media import MediaFetcher
from gateway.chat.pictures import PictureReader
from gateway.chat.reply import Delta, ReplyReader, Usage
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.engine.prompt import Output, Prompt, text_positions
from gateway.errors import ContextLengthExceeded, EngineFailure, InvalidRequest, cut
from gateway.vision.encoder import VisionEncoder

T = TypeVar("T")
U = TypeVar("U")

MAX_TEXTS = 2
"""How many conversations are made into tokens at the same time."""


class ChatModel:
    """`encoder` is None for a model that sees nothing; `context_length` counts prompt and reply together;
    `image_reach` is how many tokens from the beginning pictures have to end within; `max_pixels` is the
    largest picture that is decoded."""

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        template: ChatTemplate,
        encoder: VisionEncoder | None,
        media: MediaFetcher,
        max_pixels: int,
        context_length: int,
        image_reach: int,
        defaults: GenerationDefaults,
    ) -> None:
        self.name = name
        self.context_length = context_length
        self.image_reach = image_reach
        self.defaults = defaults
        self._tokenizer = tokenizer
        self._template = template
        self._encoder = encoder
        self._pictures = PictureReader(encoder, media, max_pixels) if encoder else None
        self._threads = ThreadPoolExecutor(MAX_TEXTS, "texts")
        self._marker_id = tokenizer.token_id(encoder.spec.marker) if encoder else None
        if encoder and self._marker_id is None:
            raise PackageError(
                f"The tokenizer of {name} has no token {encoder.spec.marker}, the marker of images."
            )
        self.max_images = self._most_images()

    def close(self) -> None:
        """Prompts that are being built never are."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._pictures:
            self._pictures.close()

    @property
    def num_tokens_per_image(self) -> int:
        """0 for a model that sees nothing."""
        return self._encoder.num_tokens_per_image if self._encoder else 0

    @property
    def shows_tool_calls(self) -> bool:
        """Whether prompts hold the tool calls of earlier turns, which not every chat template writes."""
        return self._template.shows_tool_calls

    async def build_prompt(self, messages: Sequence[Message]) -> Prompt:
        """Raises InvalidRequest and its kinds. Whether it fits is settled before anything is downloaded."""
        token_ids = await self._in_thread(self._encode, messages)
        parts = [part for message in messages for part in message.images]
        if self._encoder is None or self._pictures is None or self._marker_id is None:
            return Prompt(np.array(token_ids, dtype=np.int64), text_positions(len(token_ids)), ())
        return expand(token_ids, self._marker_id, await self._pictures.read(parts), self._encoder)

    async def tokenize(self, messages: Sequence[Message]) -> list[int]:
        """The token ids of the prompt that `build_prompt` would make; pictures are not fetched for it. Raises
        what it raises of messages."""
        num_each = self.num_tokens_per_image
        token_ids = await self._in_thread(self._encode, messages)
        return [each for id in token_ids for each in [id] * (num_each if id == self._marker_id else 1)]

    async def tokenize_text(self, text: str) -> list[int]:
        """A text as it is; special tokens in it are parsed. Raises ContextLengthExceeded for one that is sure
        to be longer than the context."""
        least = self._tokenizer.least(text)
        if least >= self.context_length:
            raise ContextLengthExceeded(self.context_length, least, 0, at_least=True)
        return await self._in_thread(self._tokenizer.encode, text)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """Special tokens included. Raises InvalidRequest for an id without a token."""
        return await self._in_thread(self._decode, token_ids)

    async def read_reply(
        self, prompt: Prompt, outputs: AsyncGenerator[Output], stop: Sequence[str]
    ) -> AsyncGenerator[Delta]:
        """What the client is shown of `outputs`, which are closed (and so cancelled) in every case: when a
        stop string is complete, when the reader of the deltas goes away, and at the end."""
        reader, logprobs = ReplyReader(self._tokenizer, stop), LogprobReader(self._tokenizer)
        last = None
        async with aclosing(outputs):
            async for output in outputs:
                if output.token_id is not None and output.logprobs:
                    logprobs.push(output.token_id, output.logprobs, start=reader.num_read)
                text = "" if output.token_id is None else reader.push(output.token_id)
                if output.finish_reason is not None and not reader.stopped:
                    text += reader.finish()
                reason = "stop" if reader.stopped else output.finish_reason
                if reason is not None:
                    usage = Usage(prompt.num_tokens, output.num_completion_tokens, output.cached_tokens)
                    rest = logprobs.release(reader.num_out) if reader.stopped else logprobs.release_all()
                    last = Delta(text, reason, usage, rest)
                    break
                if text:
                    yield Delta(text, logprobs=logprobs.release(reader.num_out))
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
        try:
            message.text.encode()
        except UnicodeEncodeError as error:
            raise _invalid(f"{path}.content", "The text contains half of a surrogate pair.") from error

    async def _in_thread(self, work: Callable[[U], T], what: U) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, what)

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        """The tokens, with a marker for each image. Raises InvalidRequest, also when they do not fit."""
        for index, message in enumerate(messages):
            self._check(message, f"messages[{index}]")
        num_images = sum(len(message.images) for message in messages)
        text = self._template.render(messages)
        num_image = num_images * self.num_tokens_per_image
        least = self._tokenizer.least(text)
        if least >= self.context_length:  # so that a text of megabytes is not made into tokens to no avail
            raise ContextLengthExceeded(self.context_length, least, num_image, at_least=True)
        token_ids = self._tokenizer.encode(text)
        num_text = len(token_ids) - num_images
        if num_text + num_image >= self.context_length:
            raise ContextLengthExceeded(self.context_length, num_text, num_image)
        ends = self._image_ends(token_ids)
        if len(ends) != num_images:
            raise InvalidRequest(
                f"The messages hold {num_images} images, but the model's chat template made {len(ends)} "
                "image markers of them.",
                param="messages",
            )
        num_reached = sum(end <= self.image_reach for end in ends)
        if num_reached < len(ends):
            raise InvalidRequest(
                f"This model takes images within the first {self.image_reach} tokens of a conversation, and "
                f"each image is {self.num_tokens_per_image} tokens: of the {len(ends)} images of these "
                f"messages, {num_reached} fit.",
                param="messages",
            )
        return token_ids

    def _decode(self, token_ids: Sequence[int]) -> str:
        for place, token_id in enumerate(token_ids):
            if not self._tokenizer.has(token_id):
                shown = cut(str(token_id))
                raise _invalid(f"tokens[{place}]", f"{shown} is no token of the model '{self.name}'.")
        return self._tokenizer.decode_all(token_ids)

    def _image_ends(self, token_ids: Sequence[int]) -> list[int]:
        """How many tokens the prompt has up to the end of each image."""
        more = self.num_tokens_per_image - 1  # than the marker
        places = [place for place, token_id in enumerate(token_ids) if token_id == self._marker_id]
        return [place + 1 + more * number for number, place in enumerate(places, start=1)]

    def _most_images(self) -> int:
        """The most pictures that a message with a word beside them can hold."""
        if self._encoder is None:
            return 0
        for number in range(self.context_length // self.num_tokens_per_image, 0, -1):
            try:
                self._encode([Message("user", (*[ImagePart("", "")] * number, TextPart("?")))])
            except InvalidRequest:
                continue
            return number
        return 0


def _invalid(param: str, sentence: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}'. {sentence}", param=param, code="invalid_value")
