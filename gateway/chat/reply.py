"""Token ids -> text, as they come: whole characters only, and never a part of a stop string."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.chat.logprobs import ShownLogprobs
from gateway.chat.tokenizer import Tokenizer

FinishReason = Literal["stop", "length", "tool_calls"]

_UNFINISHED = "\ufffd"
# A character has at most four bytes, so at most three bytes can still be waiting for their last one.
_MAX_UNFINISHED = 3


@dataclass(frozen=True, slots=True)
class Usage:
    """Counted from token ids; `cached_tokens` of the prompt were not computed again."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of the tool call number `index`. `id` and `name` are there in its first piece only; the
    `arguments` of all pieces together are JSON, unless the model made a mistake or was stopped."""

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer. Only the last one has a finish reason and the usage; its text may be empty.
    `reasoning` comes before any text, and `calls` are tools the model calls. `logprobs` has an entry for
    each of its tokens, if they were asked for."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[CallDelta, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    logprobs: tuple[ShownLogprobs, ...] = ()


class ReplyReader:
    """Reads one reply. What `push` and `finish` return, put together, is the decoded text up to the stop
    string that completes first (none of which is empty); special tokens are not part of it, nor is `lead`
    where the text begins with it."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str], lead: str = "") -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._lead = lead
        # Decoding starts at `_window`, whose first `_num_context` ids were shown before and only give context
        # (some tokenizers drop the blank in front of the first word); of its text, `_num_shown` are out.
        self._window: list[int] = []
        self._num_context = 0
        self._num_shown = 0
        self._held = ""
        self.num_out = 0  # characters returned so far
        self.stopped = False

    @property
    def num_read(self) -> int:
        """Characters that are certain, those held back included."""
        return self.num_out + len(self._held)

    def push(self, token_id: int) -> str:
        """The text that has become certain; empty while a character or a stop string may be under way."""
        self._window.append(token_id)
        text = self._tokenizer.decode(self._window)
        whole = _whole(text)
        new = whole[self._num_shown :]
        self._num_shown = len(whole)
        if whole == text:
            self._window = self._window[self._num_context :]
            self._num_context = len(self._window)
            self._num_shown = len(self._tokenizer.decode(self._window))
        while new and self._lead:
            as_led = new[0] == self._lead[0]
            self._lead, new = (self._lead[1:], new[1:]) if as_led else ("", new)
        return self._release(new, holding=True)

    def finish(self) -> str:
        """What was held back; bytes that never became a character are U+FFFD."""
        new = self._tokenizer.decode(self._window)[self._num_shown :]
        self._window, self._num_context, self._num_shown = [], 0, 0
        return self._release(new, holding=False)

    def _release(self, new: str, holding: bool) -> str:
        if self.stopped:
            return ""
        text = self._held + new
        matches = [(place + len(stop), place) for stop in self._stop if (place := text.find(stop)) >= 0]
        if matches:
            self.stopped = True
            end = min(matches)[1]
        else:
            end = len(text) - (self._num_begun(text) if holding else 0)
            self._held = text[end:]
        self.num_out += end
        return text[:end]

    def _num_begun(self, text: str) -> int:
        """Length of the longest end of `text` that is the beginning of a stop string."""
        return max(
            (
                length
                for stop in self._stop
                for length in range(1, min(len(stop), len(text) + 1))
                if text.endswith(stop[:length])
            ),
            default=0,
        )


def _whole(text: str) -> str:
    """Without the end that later bytes may still turn into a character."""
    for _ in range(_MAX_UNFINISHED):
        text = text.removesuffix(_UNFINISHED)
    return text
