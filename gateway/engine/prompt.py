"""What the engine accepts and what it gives back: frozen, made of ints and arrays, fit to cross a process
border."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from backends.base import Array
from gateway.vision.encoder import Pixels
from gateway.vision.layout import Span

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, eq=False)
class PromptImage:
    """A picture of the prompt, or a tile of one, and the placeholders it fills."""

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
        digest, its time and the row of its features. Equal keys up to a position mean equal KV rows up to
        it."""
        keys = self.token_ids.tolist()
        for image in self.images:
            tile, start = image.span.tile, image.span.start
            base = int.from_bytes(image.pixels.digest[:12], "big") << 64 | 1 << 63 | tile.time << 32
            for place in range(tile.num_tokens):
                keys[start + place] = base | tile.first + place
        return tuple(keys)

    def reply_key(self, token_id: int) -> int:
        """The prefix key of a generated token: its id, if the prompt of the next turn will have it at the
        same position, else -1, which no prompt has. That is so after a video that lasts longer than it is
        wide, where what is generated follows its time as well, but the text of a prompt does not."""
        return token_id if self.positions[:, -1].max() + 1 == self.next_position else -1

    def followed_by(self, token_ids: Sequence[int]) -> "Prompt":
        """With generated tokens behind it, where they stood when they were generated."""
        ids = np.array(token_ids, np.int64)
        positions = np.tile(self.next_position + np.arange(len(ids)), (len(self.positions), 1))
        return Prompt(
            np.concatenate([self.token_ids, ids]),
            np.concatenate([self.positions, positions.astype(self.positions.dtype)], axis=1),
            self.images,
        )


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 are off; without a seed the draw is not
    repeatable.

    The frequency and presence penalties are OpenAI's: subtracted from the logits of tokens generated before,
    once for each time, and once at all. The repetition penalty is transformers': it divides positive and
    multiplies negative logits of tokens that stand in the prompt or were generated. `logit_bias` is added.
    num_top_logprobs None asks for no log probabilities at all, 0 for those of the chosen tokens.
    `grammar` is what the reply must follow, in llguidance's own form (a JSON text); None leaves it free.
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
    grammar: str | None = None

    @property
    def repeatable(self) -> bool:
        """Whether the same request gives the same answer."""
        return self.temperature == 0 or self.seed is not None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose conversation it is. `owner` parts users who share nothing; `name` is the client's own id of the
    conversation, if it gave one; an ephemeral generation (a title, tags) leaves no session behind."""

    owner: str = ""
    name: str | None = None
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One generation asked for; `id` is unique among those in flight. `begun` are the tokens that an engine
    that was lost had generated: they count as generated and are not told again."""

    id: str
    prompt: Prompt
    sampling: SamplingParams
    identity: Identity = Identity()
    begun: tuple[int, ...] = ()

    def room(self, context_length: int) -> int:
        """How many tokens the reply can have at most: all but the last stand in the KV cache."""
        return min(self.sampling.max_tokens, context_length - self.prompt.num_tokens + 1)


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
    counts in num_completion_tokens). A token after which its grammar allows none ends it with "stop", shown.
    cached_tokens is how much of the prompt was found in the KV cache.
    """

    request_id: str
    token_id: int | None
    finish_reason: FinishReason | None
    num_completion_tokens: int
    cached_tokens: int
    logprobs: Logprobs | None = None
