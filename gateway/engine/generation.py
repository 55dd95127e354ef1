"""One completion in flight. No phase is stored: what is computed and what is asked for say it all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from backends.base import Array, Chunk, Decoder
from gateway.engine.grammar import Constraint
from gateway.engine.prompt import FinishReason, Logprobs, Output, PromptImage, Request
from gateway.engine.sampler import Sampler
from gateway.engine.session import Session
from gateway.vision.encoder import Features

WorkKind = Literal["encode", "prefill", "decode"]


PREFILL_FROM = 4
"""From so many tokens on, what a grammar dictates is prefilled and not decoded. By the recorded clock, a
chunk takes as long as 2 to 3 tokens without logits of Qwen3-VL, 4 of SmolVLM-256M, and 4 to 15 of
InternVL3-1B, the more the longer the conversation."""


class Generation:
    """A request, the session it runs in, and what is known of its reply so far: `token_ids`.

    What its grammar dictates is known before it is computed, and needs no logits. Tokens that were begun
    elsewhere are computed first, the same way where the answer is to be repeatable to the bit: decoded or
    prefilled, as they were there. Others are prefilled, which is faster.
    """

    def __init__(
        self, request: Request, session: Session, room: int, constraint: Constraint | None = None
    ) -> None:
        self.request = request
        self.session = session
        self.features: dict[bytes, Features] = {}  # by digest, for pictures not yet prefilled
        self.num_cached = len(session.keys)
        self.token_ids: list[int] = []
        self.keys = list(request.prompt.keys)
        self._room = room
        self._constraint = constraint
        self._num_told = len(request.begun)
        self._sampler = Sampler(request.sampling, request.prompt.token_ids.tolist())
        # Where prefilled runs end, by where they begin. What the grammar begins with is one with the prompt.
        self._runs: dict[int, int] = {}
        first, *others = constraint.pieces if constraint else [[], *([one] for one in request.begun)]
        self._know(first)
        self._runs = {0: len(self.keys)}
        for piece in others:
            self._know(piece)
        if not request.sampling.repeatable:
            self._runs = {0: len(self.keys)}
        self._prompt = request.prompt.followed_by(self.token_ids)  # as far as it may be prefilled

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def num_computed(self) -> int:
        return len(self.session.keys)

    @property
    def num_remaining(self) -> int:
        """Positions to be prefilled, next, that are not on the device yet."""
        computed = self.num_computed
        return next((stop - computed for start, stop in self._runs.items() if start <= computed < stop), 0)

    @property
    def decoding(self) -> bool:
        return self.num_remaining == 0

    @property
    def caught_up(self) -> bool:
        """Whether all that is known is on the device, so that the next token can be sampled."""
        return self.num_computed == len(self.keys)

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why nothing more is to be said, if so."""
        if self._constraint and self._constraint.over:
            return "stop"
        if self.token_ids and self.token_ids[-1] in self.request.sampling.stop_token_ids:
            return "stop"
        return "length" if len(self.token_ids) >= self._room else None

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

    def accept(self, logits: Array) -> list[Output]:
        """Sample a token, and say what the outside gets to see of it and of what has to follow it. Raises
        EngineFailure."""
        allowed = None
        if self._constraint:
            allowed = self._constraint.allowed(self.request.sampling.stop_token_ids)
            if self._constraint.over:
                return self.tell()
        token_id = self._sampler.sample(logits, allowed)
        piece = [token_id]
        if self._constraint and token_id not in self.request.sampling.stop_token_ids:
            piece = self._constraint.accept(token_id)
        self._know(piece, num_drawn=1)
        if len(piece) >= PREFILL_FROM:
            self._prompt = self.request.prompt.followed_by(self.token_ids)
        return self.tell(self._sampler.logprobs(logits, piece[0]) if piece else None)

    def tell(self, logprobs: Logprobs | None = None) -> list[Output]:
        """What is known and was not told yet; the log probabilities are of its first token."""
        told, finish = [], self.finish_reason
        for number, token_id in enumerate(self.token_ids[self._num_told :], start=self._num_told + 1):
            shown = None if token_id in self.request.sampling.stop_token_ids else token_id
            last = finish if number == len(self.token_ids) else None
            found = None if shown is None else logprobs
            told.append(Output(self.id, shown, last, number, self.num_cached, found))
        if finish and not told:
            told.append(Output(self.id, None, finish, len(self.token_ids), self.num_cached))
        self._num_told = len(self.token_ids)
        return told

    def _know(self, piece: Sequence[int], *, num_drawn: int = 0) -> None:
        self._sampler.note(piece, num_drawn)
        if len(piece) >= PREFILL_FROM:
            self._runs[len(self.keys)] = len(self.keys) + len(piece)
        self.token_ids += piece
        self.keys += map(self.request.prompt.reply_key, piece)


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
