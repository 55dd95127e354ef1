"""One tool call of a reply: a JSON object with a name and arguments, read letter by letter."""

import json
from collections.abc import Callable, Set

ARGUMENTS = ("arguments", "parameters")
_KEYS = ("name", *ARGUMENTS, "type", "id")
_BLANKS = " \t\r\n"
_ENDS = '"}]'  # behind which no more of a value can stand
# Models write line breaks in strings as they are, which JSON does not allow.
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class LetterReader:
    """A call, as far as it was read. `first` reads its first letter, and returns whether it can stand there;
    it, and whoever it sets `_read` to, reads the next.

    `begun`: it is certain to be a call, so it has a name and `take` gives of its arguments what there is.
    `complete`: it has all of them. `done`: it is closed. `broken`: what came is no call, or, once it has
    begun, not all of one.
    """

    def __init__(self, first: Callable[[str], bool]) -> None:
        self._read = first
        self._raw: list[str] = []  # of what is being read
        self._key = ""
        self.name = ""
        self.begun = self.complete = self.done = self.broken = False

    def push(self, text: str) -> int:
        """Reads on; returns how many letters were read: all of them unless it is done or broken."""
        for place, letter in enumerate(text):
            self.broken = not self._read(letter)
            if self.broken or self.done:
                return place + self.done
        return len(text)


class CallReader(LetterReader):
    """`names` are all that are known, and then no other keys than a call's are either; None where any will
    do."""

    def __init__(self, names: Set[str] | None = None) -> None:
        super().__init__(self._opening)
        self._names = names
        self._depth = 0
        self._in_string = self._escaped = False
        self._arguments: list[str] | None = None
        self._num_taken = 0

    def take(self) -> str:
        """What is new of the arguments, as JSON. Only once it has begun."""
        assert self._arguments is not None
        new = self._arguments[self._num_taken :]
        self._num_taken += len(new)
        return "".join(new)

    # Each of these reads one letter, and returns whether it can stand there.

    def _opening(self, letter: str) -> bool:
        if letter == "{":
            self._read = self._next
        return letter == "{" or letter in _BLANKS

    def _next(self, letter: str) -> bool:
        if letter == '"':
            self._raw, self._in_string, self._read = [letter], True, self._in_key
        return letter == '"' or letter in _BLANKS

    def _in_key(self, letter: str) -> bool:
        self._add_to_string(letter)
        if self._in_string:
            return True
        key = _parsed(self._raw)
        self._key, self._read = key if isinstance(key, str) else "", self._colon
        return self._names is None or self._key in _KEYS

    def _colon(self, letter: str) -> bool:
        if letter == ":":
            self._raw, self._read = [], self._value
        return letter == ":" or letter in _BLANKS

    def _value(self, letter: str) -> bool:
        if self._in_string:
            self._add_to_string(letter)
        elif self._depth == 0 and letter in ",}":
            self._read = self._next
            return self._keep() and (letter == "," or self._close())
        elif self._depth > 0 or letter not in _BLANKS:
            if self._depth == 0 and self._raw and self._raw[-1] in _ENDS:
                return False
            self._depth += (letter in "{[") - (letter in "}]")
            self._in_string = letter == '"'
            self._raw.append(letter)
            if letter == "{" and self.name and self._arguments is None and self._key in ARGUMENTS:
                self._arguments, self.begun = self._raw, True
            self.complete |= self._depth == 0 and self._raw is self._arguments
        return self._depth >= 0

    def _add_to_string(self, letter: str) -> None:
        self._raw.append(_ESCAPES.get(letter, letter))
        if self._escaped:
            self._escaped = False
        elif letter == "\\":
            self._escaped = True
        else:
            self._in_string = letter != '"'

    def _keep(self) -> bool:
        """At the end of a member."""
        if self._key == "name":
            name = _parsed(self._raw)
            if self.name or not isinstance(name, str) or not name:
                return False
            self.name = name
            return self._names is None or name in self._names
        if self._key in ARGUMENTS and self._arguments is None:
            self._arguments = self._raw
        return True

    def _close(self) -> bool:
        """At the end of the object."""
        self.done = True
        if not self.begun:
            text = "".join(self._arguments or ()).strip()
            written = _parsed([text])
            text = written if isinstance(written, str) else text
            known = "{}" if text in ("", "null") else text if isinstance(_parsed([text]), dict) else ""
            self._arguments = [known]
            self.begun = self.complete = bool(self.name and known)
            self.done = self.begun
        return self.done


def _parsed(written: list[str]) -> object:
    """None for what is no JSON, for null, and for a string that is no text: half of a surrogate pair."""
    try:
        value = json.loads("".join(written))
        if isinstance(value, str):
            value.encode()
        return value
    except (ValueError, RecursionError):
        return None
