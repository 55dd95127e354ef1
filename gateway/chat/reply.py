"""Token ids -> what a client is shown of a reply, as they come."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gateway.chat.characters import Characters
from gateway.chat.logprobs import ShownLogprobs
from gateway.chat.segments import CallDelta as CallDelta
from gateway.chat.segments import Form, Segment, Segments
from gateway.chat.stop import StopStrings

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Counted from token ids; `cached_tokens` of the prompt were not computed again, `reasoning_tokens` of
    the completion are reasoning, with the marker that ends it."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int = 0


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
    """Reads one reply: content, up to the stop string in it that completes first, reasoning, and calls of
    tools. Neither of these is searched for stop strings."""

    def __init__(self, characters: Characters, form: Form, stop: Sequence[str]) -> None:
        self._characters = characters
        self._segments = Segments(form)
        self._stop = StopStrings(stop)
        self.num_read = 0
        """Letters that are certain, those held back included."""
        self.num_out = 0
        """Letters that were passed on, or that turned out not to be shown, such as markers."""
        self.num_reasoning_tokens = 0

    @property
    def stopped(self) -> bool:
        """By a stop string."""
        return self._stop.stopped

    @property
    def num_calls(self) -> int:
        """That have all of their arguments."""
        return self._segments.num_complete

    def push(self, token_id: int | None, ended: bool = False) -> Delta:
        """What has become certain by one more token, or by the end of the reply."""
        self.num_reasoning_tokens += token_id is not None and self._segments.reasons
        text = "" if token_id is None else self._characters.push(token_id)
        text += self._characters.finish() if ended else ""
        self.num_read += len(text)
        segments = self._segments.push(text)
        return self._delta(segments + (self._segments.finish() if ended else []), ended)

    def _delta(self, segments: Sequence[Segment], ended: bool) -> Delta:
        texts, reasoning, calls = [], [], []
        for segment in segments:
            if self.stopped:
                break
            if segment.text:
                texts.append(self._stop.push(segment.text))
                self.num_out += len(texts[-1])
                continue
            texts.append(self._flush())
            self.num_out += segment.size
            reasoning.append(segment.reasoning)
            calls += [segment.call] if segment.call else []
        if ended:
            texts.append(self._flush())
        return Delta("".join(texts), "".join(reasoning), _joined(calls))

    def _flush(self) -> str:
        text = self._stop.flush()
        self.num_out += len(text)
        return text


def _joined(calls: Sequence[CallDelta]) -> tuple[CallDelta, ...]:
    """The pieces of one call as one."""
    joined: list[CallDelta] = []
    for call in calls:
        if joined and joined[-1].index == call.index:
            first = joined.pop()
            call = replace(first, arguments=first.arguments + call.arguments)
        joined.append(call)
    return tuple(joined)
