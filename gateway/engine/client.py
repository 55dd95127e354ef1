"""The engine as the event loop sees it: a worker process that answers, and is started again when it dies.

A worker that is silent for too long while there is work is ended: calls of a card that died never return.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Literal

from backends.axcl.backend import DeviceKind
from gateway.engine.engine import EngineStats, Failed
from gateway.engine.messages import Cancel, EngineInfo, Results, WorkerConfig
from gateway.engine.process import WorkerProcess
from gateway.engine.prompt import Output, Request
from gateway.errors import EngineFailure, EngineRestarting, Overloaded

State = Literal["starting", "ready", "restarting", "closed"]
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
LOAD_TIMEOUT_S = 900.0  # a large model takes a minute or two over PCIe
SILENCE_TIMEOUT_S = 30.0  # the card's own limit for one execute is about 10 s

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
        self._worker: WorkerProcess | None = None
        self._restart: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._heard_s = monotonic()

    @property
    def info(self) -> EngineInfo:
        """What was loaded; there once `start` has returned."""
        return self._info

    @property
    def status(self) -> EngineStatus:
        return EngineStatus(self._state, len(self._requests), self._num_restarts, self._stats)

    @property
    def max_requests(self) -> int:
        """How many may be in flight, with a KV cache and waiting for one."""
        return self._info.max_sessions + self._max_waiting

    @property
    def worker_pid(self) -> int:
        assert self._worker
        return self._worker.pid

    async def start(self) -> None:
        """Start the worker and wait until it has loaded the model; raises EngineFailure with its reason."""
        try:
            self._worker = worker = WorkerProcess(self._config, self._receive)
        except OSError as reason:
            raise EngineFailure(f"no process for the engine can be started: {reason}") from reason
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                self._info = await worker.ready
        except TimeoutError:
            worker.kill()
            raise EngineFailure(f"the model was not loaded within {LOAD_TIMEOUT_S:.0f} s") from None
        if worker.gone:  # between its word and this moment
            raise EngineFailure(worker.last_words)
        if self._config.device == "auto":  # a card that was there must be there again after a restart
            kind: DeviceKind = "emulator" if self._info.emulated else "card"
            self._config = replace(self._config, device=kind)
        self._state = "ready"
        self._watch = asyncio.get_running_loop().create_task(self._end_when_silent(worker))

    async def close(self) -> None:
        """End the worker; whatever is in flight fails."""
        self._state = "closed"
        for task in (self._restart, self._watch):
            if task:
                task.cancel()
        self._fail_all(EngineFailure("The server is shutting down."))
        if self._worker:
            await asyncio.to_thread(self._worker.close)

    async def generate(self, request: Request) -> AsyncGenerator[Output, None]:
        """The outputs of one generation. Closing the generator cancels it before its next step.

        Raises Overloaded or EngineRestarting before the first output, EngineFailure at any time.
        """
        if self._state != "ready":
            raise EngineRestarting("The engine is starting; try again in a moment.", retry_after_s=2)
        if len(self._requests) >= self.max_requests:
            raise Overloaded(
                f"{len(self._requests)} requests are in flight; try again later.", retry_after_s=2
            )
        results: asyncio.Queue[Output | Exception] = asyncio.Queue()
        if not self._requests:
            self._heard_s = monotonic()
        self._requests[request.id] = results
        worker, finished = self._worker, False
        assert worker
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

    async def _end_when_silent(self, worker: WorkerProcess) -> None:
        while not worker.gone:
            await asyncio.sleep(SILENCE_TIMEOUT_S / 10)
            if self._requests and monotonic() > self._heard_s + SILENCE_TIMEOUT_S:
                worker.last_words = f"no sign of life for {SILENCE_TIMEOUT_S:.0f} s"
                worker.kill()
                return

    def _receive(self, worker: WorkerProcess, message: Results | None) -> None:
        """Runs in the event loop. None: the worker is gone."""
        if worker is not self._worker or self._state == "closed":
            return
        if message is None:
            self._lost()
            return
        self._heard_s = monotonic()
        self._stats = message.stats
        for item in message.items:
            results = self._requests.get(item.request_id)
            if results is not None:
                results.put_nowait(item.error if isinstance(item, Failed) else item)

    def _lost(self) -> None:
        if self._state != "ready":
            return  # `start` and `_start_again` learn it from the worker's `ready`
        assert self._worker
        log.error("the engine's worker process is gone (%s); starting it again", self._worker.last_words)
        self._state = "restarting"
        self._stats = None
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
