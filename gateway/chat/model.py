"""One model as chat sees it: messages in, a prompt out; outputs in, text out."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import ParamSpec, TypeVar

from gateway.chat.content import ImagePart, Link, VideoPart
from gateway.chat.conversation import Conversation, Turn
from gateway.chat.generation import GenerationDefaults
from gateway.chat.logprobs import LogprobReader
from gateway.chat.media import MediaFetcher
from gateway.chat.pictures import PictureReader
from gateway.chat.reply import Delta, ReplyReader, Usage
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.chat.writer import Draft, PromptWriter, invalid
from gateway.engine.prompt import Output, Prompt
from gateway.errors import ContextLengthExceeded, EngineFailure, cut
from gateway.vision.encoder import VisionEncoder
from gateway.vision.spec import VisionSpec
from gateway.vision.video import Pace

P = ParamSpec("P")
T = TypeVar("T")

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
        encoder: VisionEncoder[VisionSpec] | None,
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
        self.shows_tool_calls = template.shows_tool_calls
        """Whether prompts hold the tool calls of earlier turns, which not every chat template writes."""
        self._tokenizer = tokenizer
        self._opening, self._lead = tokenizer.encode(template.opening), template.lead
        self._encoder = encoder
        self._pictures = PictureReader(encoder, media, max_pixels) if encoder else None
        self._threads = ThreadPoolExecutor(MAX_TEXTS, "texts")
        self._writer = PromptWriter(name, tokenizer, template, encoder, context_length, image_reach)
        self.max_images = self._writer.most(ImagePart("", ""))
        self.max_videos = self._writer.most(VideoPart(Link("", ""), "", Pace()))
        self.max_video_frames = encoder.spec.video.max_frames if encoder and encoder.spec.video else 0
        """Of one video; 0 for a model that takes none."""

    def close(self) -> None:
        """Prompts that are being built never are."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._pictures:
            self._pictures.close()

    @property
    def min_tokens_per_image(self) -> int:
        """0 for a model that sees nothing."""
        return self._encoder.smallest.num_tokens if self._encoder else 0

    @property
    def max_tokens_per_image(self) -> int:
        """0 for a model that sees nothing."""
        return self._encoder.largest.num_tokens if self._encoder else 0

    async def prepare(self, conversation: Conversation) -> Turn:
        """Raises InvalidRequest and its kinds. What cannot fit is refused before anything is downloaded."""
        draft = await self._in_thread(self._writer.draft, conversation.messages)
        prompt = await self._finish(draft)
        opens = prompt.token_ids[-len(self._opening) :].tolist() == self._opening
        return Turn(prompt, opens)

    async def tokenize(self, conversation: Conversation) -> list[int]:
        """The token ids of the prompt that `prepare` makes, and raises what it raises; pictures are fetched
        only where their number of tokens depends on them."""
        draft = await self._in_thread(self._writer.draft, conversation.messages)
        token_ids = self._writer.token_ids(draft)
        if token_ids is None:
            token_ids = (await self._finish(draft)).token_ids.tolist()
        return token_ids

    async def tokenize_text(self, text: str) -> list[int]:
        """A text as it is; special tokens in it are parsed. Raises ContextLengthExceeded for one that is sure
        to be longer than the context."""
        least = self._tokenizer.least(text)
        if least >= self.context_length:
            raise ContextLengthExceeded(self.context_length, least, at_least=True)
        return await self._in_thread(self._tokenizer.encode, text)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """Special tokens included. Raises InvalidRequest for an id without a token."""
        return await self._in_thread(self._decode, token_ids)

    async def read_reply(
        self, turn: Turn, outputs: AsyncGenerator[Output], stop: Sequence[str]
    ) -> AsyncGenerator[Delta]:
        """What the client is shown of `outputs`, which are closed (and so cancelled) in every case: when a
        stop string is complete, when the reader of the deltas goes away, and at the end."""
        reader = ReplyReader(self._tokenizer, stop, self._lead if turn.opens else "")
        logprobs = LogprobReader(self._tokenizer)
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
                    usage = Usage(turn.prompt.num_tokens, output.num_completion_tokens, output.cached_tokens)
                    rest = logprobs.release(reader.num_out) if reader.stopped else logprobs.release_all()
                    last = Delta(text, finish_reason=reason, usage=usage, logprobs=rest)
                    break
                if text:
                    yield Delta(text, logprobs=logprobs.release(reader.num_out))
        if last is None:
            raise EngineFailure("The generation ended without a finish reason.")
        yield last

    async def _finish(self, draft: Draft) -> Prompt:
        visuals = await self._pictures.read(draft.parts) if self._pictures else []
        return await self._in_thread(self._writer.finish, draft, visuals)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def _decode(self, token_ids: Sequence[int]) -> str:
        for place, token_id in enumerate(token_ids):
            if not self._tokenizer.has(token_id):
                shown = cut(str(token_id))
                raise invalid(f"tokens[{place}]", f"{shown} is no token of the model '{self.name}'.")
        return self._tokenizer.decode_all(token_ids)
