"""One worker process, and the two threads that stand at its pipe.

One sends (a picture can be larger than the pipe holds, and the worker reads between steps) and one receives;
both only pass things on.
"""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from queue import SimpleQueue

from gateway.engine.health import Level
from gateway.engine.messages import Broken, Close, EngineInfo, Opened, Ready, Results, WorkerConfig, Working
from gateway.errors import EngineFailure

CLOSE_TIMEOUT_S = 15.0
"""For a step that has begun, and then a call for each graph and buffer: the driver of a card that was not
given back in order may have to be loaded again."""
BROKEN_TIMEOUT_S = 5.0
DYING_S = 10.0
"""One that was killed and is still there sleeps in the driver, and cannot be ended by anybody."""

WORKER = "gateway.engine.worker"

Receive = Callable[["WorkerProcess", Results | Working | None], None]

log = logging.getLogger(__name__)


class DeviceFull(EngineFailure):
    """The device had too little memory left for the model."""


class WorkerProcess:
    """`receive` is called in the event loop with what the worker says, and with None when it is gone: then
    `last_words` are why, and `level` is what is broken. `opened` is done when the device has answered, or
    never will, `ready` when the model is loaded, or fails with the worker's last words: DeviceFull where
    there was too little memory, else EngineFailure. Raises OSError where no process can be had."""

    def __init__(self, config: WorkerConfig, receive: Receive) -> None:
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.ready: asyncio.Future[EngineInfo] = self._loop.create_future()
        self.gone = False
        self.last_words = ""
        self.level: Level = "worker"
        self._failure = EngineFailure
        self._outbox: SimpleQueue[object] = SimpleQueue()
        self._connection, theirs = Pipe()
        command = [sys.executable, "-m", WORKER, str(theirs.fileno())]
        # Libraries of the card print on stdout, which belongs to the command line.
        self._process = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=2
        )
        theirs.close()
        self.send(config)
        threading.Thread(target=self._send_all, name="engine-send", daemon=True).start()
        threading.Thread(target=self._receive_all, name="engine-receive", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: object) -> None:
        self._outbox.put(message)

    def kill(self) -> None:
        """It counts as gone soon, even if it is left behind."""
        self._process.kill()
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._loop.call_later, DYING_S, self._leave_behind)

    def close(self) -> None:
        """Ask for an orderly end, and take it where it does not come. Blocks; for another thread."""
        self.send(Close())
        if self.gone:
            return
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(DYING_S)

    def _send_all(self) -> None:
        message: object = None
        while not isinstance(message, Close):
            message = self._outbox.get()
            try:
                self._connection.send(message)
            except OSError:  # the worker is gone, and the receiving thread says so
                return
            except Exception:
                log.exception("what the engine's worker was to be told cannot be sent")
                self.kill()
                return

    def _receive_all(self) -> None:
        try:
            while True:
                self._loop.call_soon_threadsafe(self._handle, self._connection.recv())
        except (EOFError, OSError):
            pass  # the worker is gone
        except Exception:
            log.exception("the engine's worker sent what cannot be read")
            self.kill()
        self.send(Close())
        code = self._process.wait()
        self._connection.close()
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._end, f"exit status {code}")

    def _handle(self, message: Opened | Ready | Broken | Results | Working) -> None:
        match message:
            case Opened():
                self._settle()
            case Ready(info):
                if not self.ready.done():
                    self.ready.set_result(info)
            case Broken(reason, level, no_room):
                self.last_words, self.level = reason, level
                self._failure = DeviceFull if no_room else EngineFailure
                # It gives the device back now, which on a card that failed may take for ever.
                self._loop.call_later(BROKEN_TIMEOUT_S, self.kill)
            case Results() | Working():
                self._receive(self, message)

    def _settle(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)

    def _leave_behind(self) -> None:
        if not self.gone:
            log.error("process %d sleeps in the driver, cannot be ended, and is left behind", self.pid)
        self._end("it cannot be ended")

    def _end(self, words: str) -> None:
        if self.gone:
            return
        self.gone = True
        self.last_words = self.last_words or words
        self._settle()
        if not self.ready.done():
            self.ready.set_exception(self._failure(self.last_words))
        self._receive(self, None)
