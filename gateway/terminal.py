"""A chat in the terminal: `/image PATH` adds a picture, Ctrl-C cancels an answer, Ctrl-D leaves."""

import readline  # noqa: F401 - importing it gives input() line editing and history
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path

from rich.console import Console

from gateway.remote import Remote, RemoteError, Stats, user_message

KEYS = "/image PATH adds a picture to your next message, Ctrl-C cancels an answer, Ctrl-D leaves."


class Terminal:
    """One conversation with one model."""

    def __init__(self, remote: Remote, model: str, console: Console) -> None:
        self._remote = remote
        self._model = model
        self._console = console
        self._messages: list[Mapping[str, object]] = []

    def run(self, pictures: list[Path]) -> None:
        """Until Ctrl-D or the end of standard input. `pictures` go with the first message."""
        self._console.print(f"Chatting with {self._model}. {KEYS}", style="dim")
        while True:
            try:
                line = input("> ").strip()
            except KeyboardInterrupt:
                self._console.print()
                continue
            except EOFError:
                self._console.print()
                return
            if line.startswith("/image "):
                pictures.append(Path(line.removeprefix("/image ").strip()))
            elif line:
                self._turn(line, pictures)
                pictures = []

    def _turn(self, text: str, pictures: list[Path]) -> None:
        try:
            question = user_message(text, pictures)
            answer = tell(self._console, self._remote.ask(self._model, [*self._messages, question]))
        except RemoteError as error:
            self._console.out(str(error), style="red", highlight=False)
            return
        self._messages += [question, {"role": "assistant", "content": answer}]


def tell(console: Console, pieces: Generator[str | Stats, None, None]) -> str:
    """Print an answer as it comes, then what it took; returns its text, up to where Ctrl-C cut it off.
    Raises RemoteError."""
    texts: list[str] = []
    with closing(pieces):
        try:
            for piece in pieces:
                if isinstance(piece, Stats):
                    console.print(f"\n({piece})", style="dim", highlight=False)
                else:
                    console.out(piece, end="", highlight=False)
                    texts.append(piece)
        except KeyboardInterrupt:
            console.print("\n(cancelled)", style="dim")
    return "".join(texts)
