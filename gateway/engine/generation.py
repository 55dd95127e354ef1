"""One completion in flight. No phase is stored: what is computed and what is asked for say it all."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from backends.base import Array, Chunk, Decoder
from gateway.engine.prompt import FinishReason, Output, PromptImage, Request
from gateway.engine.sampler import Sampler
from gateway.engine.session import Session
from gateway.vision.encoder import Features

WorkKind = Literal["encode", "prefill", "decode"]


class Generation:
    """A request, the session it runs in, and what came out of it so far.

    Tokens that were begun elsewhere are computed first, the same way where the answer is to be repeatable to
    the bit: decoded, as they were there. Others are prefilled, which is faster.
    """

    def __init__(self, request: Request, session: Session) -> None:
        self.request = request
        self.session = session
        self.token_ids = list(request.begun)
        self._prompt = request.prompt
        if request.begun and not request.sampling.repeatable:
            self._prompt = request.prompt.followed_by(request.begun)
        self.keys = request.prompt.keys + tuple(map(request.prompt.reply_key, request.begun))
        self.features: dict[bytes, Features] = {}  # by digest, for pictures not yet prefilled
        self.num_cached = len(session.keys)
        self._sampler = Sampler(request.sampling, request.prompt.token_ids.tolist(), request.begun)

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def num_computed(self) -> int:
        return len(self.session.keys)

    @property
    def num_remaining(self) -> int:
        """Positions to be prefilled that are not on the device yet."""
        return max(0, self._prompt.num_tokens - self.num_computed)

    @property
    def decoding(self) -> bool:
        return self.num_remaining == 0

    @property
    def caught_up(self) -> bool:
        """Whether all that is known is on the device, so that the next token can be sampled."""
        return self.num_computed == self.request.prompt.num_tokens + len(self.token_ids)

    @property
    def background(self) -> bool:
        return self.request.identity.ephemeral

    def missing(self, num_tokens: int) -> PromptImage | None:
        """The first picture that the next `num_tokens` positions need and that is not encoded yet."""
        start, stop = self.num_computed, self.num_computed + num_tokens
        for image in self.request.prompt.images:
            if (
                image.span.start < stop
                and image.span.stop > start
                and image.pixels.digest not in self.features
            ):
                return image
        return None

    def chunk(self, decoder: Decoder, num_tokens: int) -> Chunk:
        """The next `num_tokens` positions to be prefilled, pictures in their places."""
        prompt, start = self._prompt, self.num_computed
        stop = start + num_tokens
        embeds = decoder.embed(prompt.token_ids[start:stop])
        rows: list[Array] = []
        levels: list[tuple[Array, ...]] = []
        for image in prompt.images:
            first, last = max(start, image.span.start), min(stop, image.span.stop)
            if first >= last:
                continue
            features = self.features[image.pixels.digest]
            row = image.span.tile.first - image.span.start
            part = slice(first + row, last + row)
            embeds[first - start : last - start] = features.embeds[part].astype(embeds.dtype)
            rows.append(np.arange(first - start, last - start))
            levels.append(tuple(level[part] for level in features.deepstack))
        return Chunk(
            embeds,
            prompt.positions[:, start:stop],
            np.concatenate(rows) if rows else np.zeros(0, np.int64),
            tuple(np.concatenate(level) for level in zip(*levels, strict=True)),
        )

    def forget_features(self) -> None:
        """Drop the features of pictures that are prefilled."""
        needed = {
            image.pixels.digest for image in self.request.prompt.images if image.span.stop > self.num_computed
        }
        self.features = {digest: features for digest, features in self.features.items() if digest in needed}

    @property
    def next_token(self) -> tuple[int, int]:
        """The generated token that is the next to be decoded, and its position id."""
        place = self.num_computed - self.request.prompt.num_tokens
        return self.token_ids[place], self.request.prompt.next_position + place

    def accept(self, logits: Array, context_length: int) -> Output:
        """Sample a token and say what the outside gets to see of it."""
        token_id = self._sampler.sample(logits)
        self.token_ids.append(token_id)
        finish: FinishReason | None = None
        if token_id in self.request.sampling.stop_token_ids:
            finish = "stop"
        elif len(self.token_ids) >= self.request.sampling.max_tokens or self.num_computed >= context_length:
            finish = "length"
        shown = None if finish == "stop" else token_id
        logprobs = self._sampler.logprobs(logits, token_id) if shown is not None else None
        return Output(self.id, shown, finish, len(self.token_ids), self.num_cached, logprobs)


@dataclass(frozen=True, slots=True)
class Encode:
    kind: ClassVar[WorkKind] = "encode"
    generation: Generation
    image: PromptImage


@dataclass(frozen=True, slots=True)
class Prefill:
    kind: ClassVar[WorkKind] = "prefill"
    generation: Generation
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Decode:
    kind: ClassVar[WorkKind] = "decode"
    generation: Generation


Work = Encode | Prefill | Decode
