"""One model as chat sees it: messages in, a prompt out; outputs in, text out."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import ParamSpec, TypeVar

from gateway.chat.characters import Characters
from gateway.chat.content import ImagePart, Link, VideoPart
from gateway.chat.conversation import Conversation, Turn
from gateway.chat.generation import GenerationDefaults
from gateway.chat.grammar import GrammarWriter
from gateway.chat.logprobs import LogprobReader
from gateway.chat.media import MediaFetcher
from gateway.chat.pictures import PictureReader
from gateway.chat.reply import Delta, FinishReason, ReplyReader, Usage
from gateway.chat.segments import END_OF_THINK, THINK, Form
from gateway.chat.tagged_calls import kinds_of
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.chat.turns import TurnDraft, TurnWriter
from gateway.chat.writer import PromptWriter, invalid
from gateway.engine.prompt import Output
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
        holds_grammars: bool = True,
    ) -> None:
        self.name = name
        self.context_length = context_length
        self.image_reach = image_reach
        self.defaults = defaults
        self.takes_tools = template.takes_tools
        """Whether it can be told of tools, which a chat template may refuse."""
        self.holds_grammars = holds_grammars
        """Whether its replies can be made to be calls of tools, or to keep to a schema."""
        self.thinks = template.thinks
        """Whether it may reason before it replies."""
        self._tokenizer = tokenizer
        self._dialect, self._lead = template.dialect, template.lead
        self._encoder = encoder
        self._pictures = PictureReader(encoder, media, max_pixels) if encoder else None
        self._threads = ThreadPoolExecutor(MAX_TEXTS, "texts")
        self._writer = PromptWriter(name, tokenizer, template, encoder, context_length, image_reach)
        grammars = GrammarWriter(tokenizer, template.dialect, template.lead) if holds_grammars else None
        self._turns = TurnWriter(self._writer, template, grammars, context_length)
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
        drafted = await self._in_thread(self._turns.draft, conversation)
        return await self._finish(drafted)

    async def prepare_text(self, written: str | Sequence[int]) -> Turn:
        """A text as it is, in which special tokens are parsed, or its token ids, to be gone on with. Raises
        InvalidRequest for an id without a token and for a text that does not fit, with the param `prompt`."""
        return Turn(await self._in_thread(self._writer.text, written), opens=False)

    async def tokenize(self, conversation: Conversation) -> list[int]:
        """The token ids of the prompt that `prepare` makes, and raises what it raises; pictures are fetched
        only where their number of tokens depends on them."""
        drafted = await self._in_thread(self._turns.draft, conversation)
        token_ids = self._writer.token_ids(drafted.draft)
        if token_ids is None:
            token_ids = (await self._finish(drafted)).prompt.token_ids.tolist()
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
        reader = self._reader(turn, stop)
        logprobs = LogprobReader(self._tokenizer)
        last = None
        async with aclosing(outputs):
            async for output in outputs:
                if output.token_id is not None and output.logprobs:
                    logprobs.push(output.token_id, output.logprobs, start=reader.num_read)
                delta = reader.push(output.token_id, ended=output.finish_reason is not None)
                reason = "stop" if reader.stopped else output.finish_reason
                if reason is not None:
                    called = reason == "stop" and reader.num_calls > 0 and not reader.stopped
                    told = logprobs.release(reader.num_out) if reader.stopped else logprobs.release_all()
                    usage = Usage(
                        turn.prompt.num_tokens,
                        output.num_completion_tokens,
                        output.cached_tokens,
                        reader.num_reasoning_tokens,
                    )
                    final: FinishReason = "tool_calls" if called else reason
                    last = replace(delta, finish_reason=final, usage=usage, logprobs=told)
                    break
                if delta != Delta():
                    yield replace(delta, logprobs=logprobs.release(reader.num_out))
        if last is None:
            raise EngineFailure("The generation ended without a finish reason.")
        yield last

    def _reader(self, turn: Turn, stop: Sequence[str]) -> ReplyReader:
        use = turn.use if turn.use and turn.use.allowed else None
        markers = self._tokenizer.special_in("".join(self._dialect.markers)) if use else {}
        form = Form(
            thinks=turn.thinks,
            may_think=turn.opens and not turn.thinks,
            dialect=self._dialect if use else None,
            names=frozenset(use.allowed) if use else frozenset(),
            kinds=kinds_of(turn.tools),
            parallel=use is None or use.parallel,
            hidden=tuple(markers.values()),
        )
        shown = markers | (self._tokenizer.special_in(THINK + END_OF_THINK) if turn.opens else {})
        lead = self._lead if turn.opens else ""
        return ReplyReader(Characters(self._tokenizer, lead, shown), form, stop)

    async def _finish(self, drafted: TurnDraft) -> Turn:
        visuals = await self._pictures.read(drafted.draft.parts) if self._pictures else []
        return await self._in_thread(self._turns.finish, drafted, visuals)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))

    def _decode(self, token_ids: Sequence[int]) -> str:
        for place, token_id in enumerate(token_ids):
            if not self._tokenizer.has(token_id):
                shown = cut(str(token_id))
                raise invalid(f"tokens[{place}]", f"{shown} is no token of the model '{self.name}'.")
        return self._tokenizer.decode_all(token_ids)
