"""What the engine accepts and what it gives back: frozen, made of ints and arrays, fit to cross a process
border."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from backends.base import Array
from gateway.vision.encoder import Pixels, Span

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, eq=False)
class PromptImage:
    """A picture of the prompt and the placeholders it fills."""

    span: Span
    pixels: Pixels


@dataclass(frozen=True, eq=False)
class Prompt:
    """Token ids + positions + image spans, ready to run.

    token_ids: (n,) int64; placeholders stand where pictures are
    positions: (3, n) uint32
    """

    token_ids: Array
    positions: Array
    images: tuple[PromptImage, ...]

    @property
    def num_tokens(self) -> int:
        return int(self.token_ids.shape[0])

    @property
    def num_image_tokens(self) -> int:
        return sum(image.span.num_tokens for image in self.images)

    @property
    def next_position(self) -> int:
        """The position id of the first generated token."""
        return int(self.positions.max()) + 1

    @cached_property
    def keys(self) -> tuple[int, ...]:
        """Prefix keys, one per position: the token id, or for a placeholder a number made of the picture's
        digest and the place within it. Equal keys up to a position mean equal KV rows up to it."""
        keys = self.token_ids.tolist()
        for image in self.images:
            base = int.from_bytes(image.pixels.digest[:12], "big") << 32
            first = image.span.start
            for place in range(image.span.num_tokens):
                keys[first + place] = base | 1 << 31 | place
        return tuple(keys)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 are off; without a seed the draw is not
    repeatable.

    The frequency and presence penalties are OpenAI's: subtracted from the logits of tokens generated before,
    once for each time, and once at all. The repetition penalty is transformers': it divides positive and
    multiplies negative logits of tokens that stand in the prompt or were generated. `logit_bias` is added.
    num_top_logprobs None asks for no log probabilities at all, 0 for those of the chosen tokens.
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None
    stop_token_ids: frozenset[int] = frozenset()
    num_top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose conversation it is. `owner` parts users who share nothing; `name` is the client's own id of the
    conversation, if it gave one; an ephemeral generation (a title, tags) leaves no session behind."""

    owner: str = ""
    name: str | None = None
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One generation asked for; `id` is unique among those in flight."""

    id: str
    prompt: Prompt
    sampling: SamplingParams
    identity: Identity = Identity()


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Natural logarithms of what the model itself found likely, before temperature, penalties and bias.

    chosen: of the sampled token; top: the likeliest tokens and theirs, best first
    """

    chosen: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Output:
    """One step of a generation, as seen from outside.

    token_id is None when the step ended it without a token to show (a stop token is never shown, though it
    counts in num_completion_tokens). cached_tokens is how much of the prompt was found in the KV cache.
    """

    request_id: str
    token_id: int | None
    finish_reason: FinishReason | None
    num_completion_tokens: int
    cached_tokens: int
    logprobs: Logprobs | None = None


def text_positions(num_tokens: int) -> Array:
    """(3, n) positions of a prompt without pictures: 0, 1, 2, … in every row."""
    return np.tile(np.arange(num_tokens, dtype=np.uint32), (3, 1))
