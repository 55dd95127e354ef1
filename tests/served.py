"""A gateway in a process of its own, as a user starts it."""

import base64
import io
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

from PIL import Image

READY = re.compile(r"url=(http://\S+/v1)")
START_TIMEOUT_S, STOP_TIMEOUT_S = 30, 15


@dataclass(frozen=True)
class Gateway:
    base_url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def worker_pid(self) -> int:
        """The process that owns the card (Linux)."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


@contextmanager
def served(*options: str, faults: bool = False, module: str = "gateway") -> Iterator[Gateway]:
    """`axgate serve` on a free port, ready; `module` may be one that runs it in its own way. It must end by
    itself when told to, without having logged an error, unless `faults` are part of the test."""
    command = [sys.executable, "-m", module, "serve", "--port", "0", *options]
    with TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
        path = Path(folder) / "log"
        try:
            yield Gateway(_base_url(process, path), process, path)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(STOP_TIMEOUT_S) == 0, path.read_text()
        told = path.read_text()
        assert faults or not ("Traceback" in told or " ERROR " in told), told


def _base_url(process: subprocess.Popen[bytes], log: Path) -> str:
    patience = monotonic() + START_TIMEOUT_S
    while monotonic() < patience and process.poll() is None:
        if found := READY.search(log.read_text()):
            return found[1]
        sleep(0.02)
    process.kill()
    raise AssertionError(log.read_text())


def data_url(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def user(text: str, *pictures: Image.Image) -> Any:
    """A user message, pictures first."""
    shown = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
    return {"role": "user", "content": [*shown, {"type": "text", "text": text}]}
