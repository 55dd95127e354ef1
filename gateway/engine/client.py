"""The engine as the event loop sees it: a worker process that answers, and is started again when it dies.

Two threads stand at the pipe, one to send (a picture can be larger than the pipe holds, and the worker reads
between steps) and one to receive; both only pass things on.
"""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from queue import SimpleQueue
from typing import Literal

from gateway.engine.engine import EngineStats, Failed
from gateway.engine.messages import Broken, Cancel, Close, EngineInfo, Ready, Results, WorkerConfig
from gateway.engine.prompt import Output, Request
from gateway.errors import EngineFailure, EngineRestarting, Overloaded

State = Literal["starting", "ready", "restarting", "closed"]
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
CLOSE_TIMEOUT_S = 5.0

Receive = Callable[["_Worker", Results | None], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """For `/health`. num_requests counts all in flight; stats are as of the worker's last step."""

    state: State
    num_requests: int
    num_restarts: int
    stats: EngineStats | None


class EngineClient:
    """`max_waiting` requests may be in flight beyond those that have a KV cache; more are refused."""

    def __init__(self, config: WorkerConfig, max_waiting: int) -> None:
        self._config = config
        self._max_waiting = max_waiting
        self._state: State = "starting"
        self._requests: dict[str, asyncio.Queue[Output | Exception]] = {}
        self._num_restarts = 0
        self._stats: EngineStats | None = None
        self._restart: asyncio.Task[None] | None = None

    @property
    def info(self) -> EngineInfo:
        """What was loaded; there once `start` has returned."""
        return self._info

    @property
    def status(self) -> EngineStatus:
        return EngineStatus(self._state, len(self._requests), self._num_restarts, self._stats)

    @property
    def worker_pid(self) -> int:
        return self._worker.pid

    async def start(self) -> None:
        """Start the worker and wait until it has loaded the model; raises EngineFailure with its reason."""
        self._worker = _Worker(self._config, self._receive)
        self._info = await self._worker.ready
        self._state = "ready"

    async def close(self) -> None:
        """End the worker; whatever is in flight fails."""
        self._state = "closed"
        if self._restart:
            self._restart.cancel()
        await asyncio.to_thread(self._worker.close)
        self._fail_all(EngineFailure("The server is shutting down."))

    async def generate(self, request: Request) -> AsyncGenerator[Output, None]:
        """The outputs of one generation. Closing the generator cancels it before its next step.

        Raises Overloaded or EngineRestarting before the first output, EngineFailure at any time.
        """
        if self._state != "ready":
            raise EngineRestarting("The engine is starting; try again in a moment.", retry_after_s=2)
        if len(self._requests) >= self._info.max_sessions + self._max_waiting:
            raise Overloaded(
                f"{len(self._requests)} requests are in flight; try again later.", retry_after_s=2
            )
        results: asyncio.Queue[Output | Exception] = asyncio.Queue()
        self._requests[request.id] = results
        worker, finished = self._worker, False
        worker.send(request)
        try:
            while not finished:
                result = await results.get()
                if isinstance(result, Exception):
                    finished = True
                    raise result
                finished = result.finish_reason is not None
                yield result
        finally:
            self._requests.pop(request.id, None)
            if not finished:
                worker.send(Cancel(request.id))

    def _receive(self, worker: "_Worker", message: Results | None) -> None:
        """Runs in the event loop. None: the worker is gone."""
        if worker is not self._worker or self._state == "closed":
            return
        if message is None:
            self._lost()
            return
        self._stats = message.stats
        for item in message.items:
            results = self._requests.get(item.request_id)
            if results is not None:
                results.put_nowait(item.error if isinstance(item, Failed) else item)

    def _lost(self) -> None:
        if self._state != "ready":
            return  # `start` and `_start_again` learn it from the worker's `ready`
        log.error("the engine's worker process is gone (%s); starting it again", self._worker.last_words)
        self._state = "restarting"
        self._fail_all(EngineFailure(f"The engine stopped while it was working: {self._worker.last_words}."))
        self._restart = asyncio.get_running_loop().create_task(self._start_again())

    async def _start_again(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            self._num_restarts += 1
            try:
                await self.start()
            except EngineFailure as reason:
                log.error("the engine cannot start: %s; next try in %.1f s", reason, pause)
            else:
                log.info("the engine is back")
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _fail_all(self, error: EngineFailure) -> None:
        for results in self._requests.values():
            results.put_nowait(error)


class _Worker:
    """One worker process and the two threads at its pipe."""

    def __init__(self, config: WorkerConfig, receive: Receive) -> None:
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self.ready: asyncio.Future[EngineInfo] = self._loop.create_future()
        self.last_words = "it gave no reason"
        self._outbox: SimpleQueue[object] = SimpleQueue()
        self._connection, theirs = Pipe()
        command = [sys.executable, "-m", "gateway.engine.worker", str(theirs.fileno())]
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

    def close(self) -> None:
        """Ask for an orderly end, and take it where it does not come. Blocks; for another thread."""
        self.send(Close())
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send_all(self) -> None:
        while True:
            message = self._outbox.get()
            try:
                self._connection.send(message)
            except OSError:  # the worker is gone, and the receiving thread says so
                return
            if isinstance(message, Close):
                return

    def _receive_all(self) -> None:
        try:
            while True:
                self._loop.call_soon_threadsafe(self._handle, self._connection.recv())
        except (EOFError, OSError):
            pass  # the worker is gone
        except Exception:
            log.exception("the engine's worker sent what cannot be read")
            self._process.kill()
        self._outbox.put(Close())
        code = self._process.wait()
        self._connection.close()
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._gone, code)

    def _handle(self, message: Ready | Broken | Results) -> None:
        match message:
            case Ready(info):
                if not self.ready.done():
                    self.ready.set_result(info)
            case Broken(reason):
                self.last_words = reason
            case Results():
                self._receive(self, message)

    def _gone(self, code: int) -> None:
        if self.last_words == "it gave no reason":
            self.last_words = f"exit status {code}"
        if not self.ready.done():
            self.ready.set_exception(EngineFailure(self.last_words))
        self._receive(self, None)
