"""Token ids -> text, as they come: whole characters only."""

from collections.abc import Mapping

from gateway.chat.tokenizer import Tokenizer

_UNFINISHED = "\ufffd"
# A character has at most four bytes, so at most three bytes can still be waiting for their last one.
_MAX_UNFINISHED = 3


class Characters:
    """Reads one reply. What `push` and `finish` return, put together, is the decoded text, without `lead`
    where it begins with that, and without special tokens but for those of `shown`, which are written as it
    says."""

    def __init__(self, tokenizer: Tokenizer, lead: str = "", shown: Mapping[int, str] | None = None) -> None:
        self._tokenizer = tokenizer
        self._lead = lead
        self._shown = shown or {}
        # Decoding starts at `_window`, whose first `_num_context` ids were read before and only give context
        # (some tokenizers drop the blank in front of the first word); of its text, `_num_out` are out.
        self._window: list[int] = []
        self._num_context = 0
        self._num_out = 0

    def push(self, token_id: int) -> str:
        """The text that has become certain; empty while a character may be under way."""
        if token_id in self._shown:
            return self.finish() + self._shown[token_id]
        self._window.append(token_id)
        text = self._tokenizer.decode(self._window)
        whole = _whole(text)
        new = whole[self._num_out :]
        self._num_out = len(whole)
        if whole == text:
            self._window = self._window[self._num_context :]
            self._num_context = len(self._window)
            self._num_out = len(self._tokenizer.decode(self._window))
        return self._after_lead(new)

    def finish(self) -> str:
        """What is left; bytes that never became a character are U+FFFD."""
        new = self._tokenizer.decode(self._window)[self._num_out :]
        self._window, self._num_context, self._num_out = [], 0, 0
        return self._after_lead(new)

    def _after_lead(self, new: str) -> str:
        while new and self._lead:
            as_led = new[0] == self._lead[0]
            self._lead, new = (self._lead[1:], new[1:]) if as_led else ("", new)
        return new


def _whole(text: str) -> str:
    """Without the end that later bytes may still turn into a character."""
    for _ in range(_MAX_UNFINISHED):
        text = text.removesuffix(_UNFINISHED)
    return text
