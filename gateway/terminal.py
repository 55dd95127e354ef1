"""A chat in the terminal. A line that begins with a slash is a command, any other goes to the model."""

import readline  # noqa: F401 - importing it gives input() line editing and history
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from rich.console import Console

from gateway.remote import Remote, RemoteError, Stats, image_part, user_message

KEYS = "/image PATH adds a picture to your next message, Ctrl-C cancels an answer, /quit or Ctrl-D leaves."


class Terminal:
    """One conversation with one model."""

    def __init__(self, remote: Remote, model: str, console: Console) -> None:
        self._remote = remote
        self._model = model
        self._console = console
        self._messages: list[Mapping[str, object]] = []
        self._images: list[Mapping[str, object]] = []

    def run(self, images: Sequence[Mapping[str, object]]) -> None:
        """Until /quit, Ctrl-D or the end of standard input. `images` go with the first message."""
        self._images = list(images)
        self._console.print(f"Chatting with {self._model}. {KEYS}", style="dim")
        while True:
            try:
                line = input("> ").rstrip()
            except KeyboardInterrupt:
                self._console.print()
                continue
            except EOFError:
                self._console.print()
                return
            if line == "/quit":
                return
            try:
                if line.startswith("/"):
                    self._command(line)
                elif line:
                    self._turn(line.lstrip())
            except RemoteError as error:
                self._console.out(str(error), style="red", highlight=False)

    def _command(self, line: str) -> None:
        name, _, path = line.partition(" ")
        if name == "/image" and path.strip():
            self._images.append(image_part(Path(path.strip())))
        else:  # /help, or something that is no command
            self._console.print(KEYS, style="dim")

    def _turn(self, text: str) -> None:
        question, self._images = user_message(text, self._images), []
        answer = tell(self._console, self._remote.ask(self._model, [*self._messages, question]))
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
