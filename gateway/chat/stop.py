"""Strings that end a text before them, and are never shown, not even in part."""

from collections.abc import Sequence


class StopStrings:
    """What `push` and `flush` return, put together, is the text up to the stop string that completes first;
    none of `strings` is empty."""

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """What is certain; the end that may be the beginning of a stop string is held back."""
        if self.stopped:
            return ""
        text = self._held + text
        matches = [(place + len(stop), place) for stop in self._strings if (place := text.find(stop)) >= 0]
        if matches:
            self.stopped = True
            end = min(matches)[1]
        else:
            end = len(text) - num_begun(text, self._strings)
        self._held = text[end:]
        return text[:end]

    def flush(self) -> str:
        """What was held back, for nothing follows that could make a stop string of it."""
        if self.stopped:
            return ""
        text, self._held = self._held, ""
        return text


def num_begun(text: str, strings: Sequence[str]) -> int:
    """The length of the longest end of a text that is a beginning of one of `strings`, but not all of it."""
    return max(
        (
            length
            for string in strings
            for length in range(1, min(len(string), len(text) + 1))
            if text.endswith(string[:length])
        ),
        default=0,
    )
