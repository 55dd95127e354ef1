"""The text of a reply, cut into what it is: reasoning, tool calls, and content."""

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from uuid import uuid4

from gateway.chat.calls import CallReader
from gateway.chat.dialect import Dialect
from gateway.chat.stop import num_begun
from gateway.chat.tagged_calls import Kinds, TaggedCallReader

THINK, END_OF_THINK = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class CallDelta:
    """A piece of the tool call number `index`. `id` and `name` are there in its first piece only; the
    `arguments` of all pieces together are JSON, unless the model made a mistake or was stopped."""

    index: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """`size` letters of the reply, in order: content, reasoning or a piece of a call; or nothing that is
    shown, such as a marker."""

    size: int
    text: str = ""
    reasoning: str = ""
    call: CallDelta | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """What a reply may be. `thinks`: it begins inside of reasoning; `may_think`: it may begin with <think>.
    `dialect` is that of its calls, None where nothing in it is one; `names` are the tools that there are, and
    `kinds` the types of their parameters; `parallel`: more than one call is shown. `hidden` are markers that
    are special tokens."""

    thinks: bool = False
    may_think: bool = False
    dialect: Dialect | None = None
    names: Set[str] = frozenset()
    kinds: Kinds = field(default_factory=dict)
    parallel: bool = True
    hidden: tuple[str, ...] = ()


class Segments:
    """Cuts one reply as it comes. A marker that may be under way is held back, and no more than that; so is
    a call until it is certain to be one. What turns out to be none is content, as it was written.

    Blanks around reasoning and calls are not shown.
    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self._rest = ""
        self._found: list[Segment] = []
        self._read: Callable[[bool], bool] = self._start if form.may_think else self._content
        if form.thinks:
            self._read = self._start_of_reasoning
        self._at_start = True  # of the content
        self._call: CallReader | TaggedCallReader = CallReader()
        self._raw = ""  # of the call, as long as it may turn out to be none
        self._is_shown = False
        self._in_list = False
        self._index = -1  # of the last call that is shown
        self.num_complete = 0
        """Calls that have all of their arguments."""

    @property
    def reasons(self) -> bool:
        """Whether what comes next is reasoning, or the marker that ends it."""
        return self._read in (self._start_of_reasoning, self._reasoning)

    def push(self, text: str) -> list[Segment]:
        return self._go(text, ended=False)

    def finish(self) -> list[Segment]:
        return self._go("", ended=True)

    def _go(self, text: str, ended: bool) -> list[Segment]:
        self._rest += text
        while self._rest and self._read(ended):
            pass
        if ended and self._read in (self._start_of_call, self._in_call):
            self._end_call()
            self._show(len(self._rest))
        found, self._found = self._found, []
        return found

    # Each of these reads from the rest, and returns whether another one is to go on with it.

    def _start(self, ended: bool) -> bool:
        begun = self._rest.lstrip()
        if begun.startswith(THINK):
            self._skip(len(self._rest) - len(begun) + len(THINK))
            self._read = self._start_of_reasoning
            return True
        if THINK.startswith(begun) and not ended:
            return False
        self._read = self._content
        return True

    def _start_of_reasoning(self, ended: bool) -> bool:
        self._skip_blanks()
        self._read = self._reasoning if self._rest else self._read
        return bool(self._rest)

    def _reasoning(self, ended: bool) -> bool:
        place = self._rest.find(END_OF_THINK)
        closed = place >= 0
        if not closed:
            place = len(self._rest) - (0 if ended else num_begun(self._rest, (END_OF_THINK,)))
        text = self._rest[:place].rstrip()
        if text:
            self._rest = self._rest[len(text) :]
            self._found.append(Segment(len(text), reasoning=text))
        if closed:
            self._skip(self._rest.index(END_OF_THINK) + len(END_OF_THINK))
            self._read = self._after_reasoning
        return closed

    def _after_reasoning(self, ended: bool) -> bool:
        self._skip_blanks()
        self._read = self._content if self._rest else self._read
        return bool(self._rest)

    def _content(self, ended: bool) -> bool:
        dialect = self._form.dialect
        if dialect is None:
            self._show(len(self._rest))
            return False
        begun = self._rest.lstrip()
        if self._at_start and dialect.bare and begun.startswith("{"):
            return self._begin(len(self._rest) - len(begun), in_list=False)
        place = self._rest.find(dialect.begin)
        if place >= 0:
            self._show(len(self._rest[:place].rstrip()))
            return self._begin(self._rest.index(dialect.begin) + len(dialect.begin), in_list=False)
        held = 0 if ended else num_begun(self._rest, (dialect.begin,))
        certain = self._rest[: len(self._rest) - held]
        self._show(len(certain if ended else certain.rstrip()))
        return False

    def _begin(self, size: int, in_list: bool) -> bool:
        """A call, whose object begins after so many letters."""
        assert self._form.dialect is not None
        self._raw, self._rest = self._rest[:size], self._rest[size:]
        self._at_start = False
        self._in_list, self._is_shown = in_list, False
        bare = self._raw.strip() == "" and not in_list
        self._call = CallReader(self._form.names if bare else None)
        self._read = self._in_call if bare or in_list else self._start_of_call
        return True

    def _start_of_call(self, ended: bool) -> bool:
        """SmolLM's list of calls begins here, or the call itself, which tells its form."""
        begun = self._rest.lstrip()
        if begun.startswith("<"):
            self._call = TaggedCallReader(self._form.kinds)
        if begun.startswith("["):
            size = len(self._rest) - len(begun) + 1
            self._raw, self._rest = self._raw + self._rest[:size], self._rest[size:]
            self._in_list = True
        self._read = self._in_call if begun else self._read
        return bool(begun)

    def _in_call(self, ended: bool) -> bool:
        call = self._call
        size = call.push(self._rest)
        self._raw, self._rest = self._raw + self._rest[:size], self._rest[size:]
        if call.begun:
            self._show_call()
        if not (call.done or call.broken):
            return False
        self._end_call()
        return True

    def _after_call(self, ended: bool) -> bool:
        dialect = self._form.dialect
        assert dialect is not None
        self._skip_blanks()
        between = ("]", ",") if self._in_list else (",", ";") if dialect.bare else ()
        for marker in (*between, dialect.end):
            if marker and self._rest.startswith(marker):
                self._skip(len(marker))
                self._in_list &= marker == ","
                return True
        if self._rest.startswith("{") and (self._in_list or dialect.bare):
            return self._begin(0, self._in_list)
        if not ended and any(marker.startswith(self._rest) for marker in dialect.markers):
            return False
        self._read = self._content
        return True

    def _show_call(self) -> None:
        size, self._raw = len(self._raw), ""
        arguments = self._call.take()
        if not self._is_shown:
            self._is_shown = True
            self._index += 1
            delta = CallDelta(self._index, arguments, f"call_{uuid4().hex[:24]}", self._call.name)
        else:
            delta = CallDelta(self._index, arguments)
        told = (self._index == 0 or self._form.parallel) and (arguments or delta.id)
        self._found.append(Segment(size, call=delta if told else None))

    def _end_call(self) -> None:
        """It is told of, or given back."""
        if self._call.begun:
            self.num_complete += self._call.complete
            self._read = self._after_call
            return
        text, self._raw = self._raw, ""
        shown = text if self._index < 0 or self._form.parallel else ""
        for marker in self._form.hidden:
            shown = shown.replace(marker, "")
        self._found.append(Segment(len(text) - len(shown)))
        self._found.append(Segment(len(shown), text=shown))
        self._read = self._content

    def _show(self, size: int) -> None:
        text, self._rest = self._rest[:size], self._rest[size:]
        if text:
            self._found.append(Segment(size, text=text))
            self._at_start = False

    def _skip(self, size: int) -> None:
        self._rest = self._rest[size:]
        self._found.append(Segment(size))

    def _skip_blanks(self) -> None:
        size = len(self._rest) - len(self._rest.lstrip())
        if size:
            self._skip(size)
