"""The engine of one model as the event loop sees it: a worker process that answers, and is started again when
it dies.

A worker that hangs is ended: calls of a card that died never return. Whoever was in flight when a worker died
waits for the next one, which goes on where it was (see flight.py).
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from time import monotonic

from backends.axcl.backend import DeviceChoice
from backends.axcl.cures import Host, cures_of_silence
from gateway.engine import watch
from gateway.engine.engine import EngineStats, Failed
from gateway.engine.flight import Flights
from gateway.engine.health import Fault, State, levels
from gateway.engine.messages import Cancel, EngineInfo, KvChoice, Place, Results, WorkerConfig, Working
from gateway.engine.process import DeviceFull, WorkerProcess
from gateway.engine.prompt import Output, Request
from gateway.engine.watch import Watch
from gateway.errors import EngineFailure, EngineRestarting, GatewayError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0
MAX_FAILURES = 5
"""Workers in a row that died without a token, or never began: then nobody is kept waiting any more. More than
it takes to find a request that workers die of."""
STEADY_S = 600.0  # a worker that lived so long was none of those that fail in a row
OPEN_TIMEOUT_S = 60.0  # for the process to start, and a card to answer some calls and seven shell commands
LOAD_TIMEOUT_S = 900.0  # a large model takes a minute or two over PCIe
LEAST_RELOAD_S, RELOAD_TIMES = 120.0, 5  # of what the first load took

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """For `/health`. num_requests counts all in flight; levels are of health.py; stats are as of the worker's
    last step; reserved_bytes of the device are its own while it is loaded, and kv_write is how its K/V rows
    are written."""

    state: State
    num_requests: int
    num_restarts: int
    levels: dict[str, str]
    stats: EngineStats | None
    reserved_bytes: int | None = None
    kv_write: KvChoice | None = None


class EngineClient:
    """`info` is what was loaded, the last time: None before the first."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._state: State = "unloaded"
        self._fault: Fault | None = None
        self._flights = Flights()
        self._watch = Watch()
        self._num_restarts = 0
        self._num_failures = 0
        self._load_timeout_s = LOAD_TIMEOUT_S
        self._began_s = 0.0
        self._stats: EngineStats | None = None
        self._worker: WorkerProcess | None = None
        self._restart: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self.info: EngineInfo | None = None

    @property
    def status(self) -> EngineStatus:
        known = levels(self._state, self._fault, tested=self._config.kv_write is None)
        info = self.info if self.loaded else None
        return EngineStatus(
            self._state,
            len(self._flights),
            self._num_restarts,
            known,
            self._stats,
            None if info is None else info.reserved_bytes,
            None if info is None else info.kv_choice,
        )

    @property
    def loaded(self) -> bool:
        """Whether its part of the device is taken, also while the worker is started again."""
        return self._state in ("ready", "restarting", "broken")

    @property
    def worker_pid(self) -> int:
        assert self._worker
        return self._worker.pid

    async def load(self, place: Place) -> EngineInfo:
        """Start a worker and wait until it has loaded the model; raises EngineFailure with its reason, and
        DeviceFull where that is the memory of the device."""
        assert self._state == "unloaded"
        self._state = "loading"
        self._num_failures = 0
        began_s = monotonic()
        try:
            info = await self._start(replace(self._config, place=place))
        except EngineFailure:
            self._state = "unloaded"
            raise
        took_s = monotonic() - began_s
        self._load_timeout_s = min(LOAD_TIMEOUT_S, max(LEAST_RELOAD_S, RELOAD_TIMES * took_s))
        # A worker that is started again must have what it had, on the card that was there.
        place = Place(info.device, place.device_bytes)
        self._again = replace(self._config, place=place, max_sessions=info.max_sessions)
        return info

    async def unload(self) -> None:
        """End the worker, which gives its part of the device back, and with it the KV caches of all
        conversations."""
        assert not self._flights
        self._state, self._fault = "unloaded", None
        await self._end()

    async def close(self) -> None:
        """End the worker; whatever is in flight fails."""
        self._state = "closed"
        self._flights.fail(_shutting_down())
        await self._end()

    async def generate(self, request: Request) -> AsyncGenerator[Output, None]:
        """The outputs of one generation, however many workers it takes. Closing the generator cancels it
        before its next step.

        Raises EngineRestarting where no worker lives long enough, EngineFailure where they die of this
        request, and what the engine says of it.
        """
        if self._state == "closed":
            raise _shutting_down()
        if self._state not in ("ready", "restarting"):
            raise self._unavailable()
        flight = self._flights.add(request)
        self._send()
        try:
            finished = False
            while not finished:
                result = await flight.results.get()
                if isinstance(result, GatewayError):
                    raise result
                finished = result.finish_reason is not None
                yield result
        finally:
            self._flights.remove(flight)
            if flight.working and self._worker:
                self._worker.send(Cancel(request.id))

    def _send(self) -> None:
        """Tell the worker of all that it is to begin now."""
        if self._state == "ready":
            assert self._worker
            for flight in self._flights.take():
                self._worker.send(flight.request)

    async def _start(self, config: WorkerConfig) -> EngineInfo:
        try:
            info = await self._started(config)
        except EngineFailure as reason:
            if self._state != "loading" or not isinstance(reason, DeviceFull):  # which the fleet deals with
                level = "worker" if self._worker is None else self._worker.level
                self._fault = Fault(level, str(reason))
            raise
        self._state, self._fault, self._began_s = "ready", None, monotonic()
        self._send()
        return info

    async def _started(self, config: WorkerConfig) -> EngineInfo:
        self._worker = None
        try:
            self._worker = worker = WorkerProcess(config, self._receive)
        except OSError as reason:
            raise EngineFailure(f"no process for the engine can be started: {reason}") from reason
        try:
            told = f"the device did not answer within {OPEN_TIMEOUT_S:.0f} s"
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await worker.opened
            told = f"the model was not loaded within {self._load_timeout_s:.0f} s"
            async with asyncio.timeout(self._load_timeout_s):
                self.info = info = await worker.ready
        except TimeoutError:
            worker.level = "card"
            worker.ready.cancel()
            worker.kill()
            raise EngineFailure(_with_cures(told, config.place.device)) from None
        if worker.gone:  # between its word and this moment
            raise EngineFailure(worker.last_words)
        self._watch.rest()
        self._watching = asyncio.get_running_loop().create_task(self._end_when_silent(worker, info.device))
        return info

    async def _end(self) -> None:
        for task in (self._restart, self._watching):
            if task:
                task.cancel()
        self._stats = None
        if self._worker:
            await asyncio.to_thread(self._worker.close)

    async def _end_when_silent(self, worker: WorkerProcess, device: DeviceChoice) -> None:
        while not worker.gone:
            await asyncio.sleep(watch.TICK_S)
            if not self._flights.working:
                self._watch.rest()
            elif reason := self._watch.tick():
                worker.last_words, worker.level = _with_cures(reason, device), self._watch.level
                worker.kill()
                return

    def _receive(self, worker: WorkerProcess, message: Results | Working | None) -> None:
        """Runs in the event loop. None: the worker is gone."""
        if worker is not self._worker or self._state in ("unloaded", "closed"):
            return
        if message is None:
            self._lost(worker)
            return
        self._watch.heard(message)
        if isinstance(message, Working):
            return
        self._stats = message.stats
        for item in message.items:
            if isinstance(item, Output):
                self._num_failures = 0
            self._flights.tell(item.request_id, item.error if isinstance(item, Failed) else item)

    def _lost(self, worker: WorkerProcess) -> None:
        if self._state != "ready":
            return  # `load` and `_start_again` learn it from the worker's `ready`
        log.error("the engine's worker process is gone (%s); starting it again", worker.last_words)
        self._state, self._stats = "restarting", None
        self._fault = Fault(worker.level, worker.last_words)
        if monotonic() > self._began_s + STEADY_S:
            self._num_failures = 0
        self._flights.lose(self._watch.request_id, worker.last_words)
        self._count_failure()
        self._restart = asyncio.get_running_loop().create_task(self._start_again())

    def _count_failure(self) -> None:
        self._num_failures += 1
        if self._num_failures >= MAX_FAILURES:
            self._state = "broken"
            self._flights.fail(self._unavailable())

    async def _start_again(self) -> None:
        while self._state != "ready":
            await asyncio.sleep(self._pause_s)
            self._num_restarts += 1
            try:
                await self._start(self._again)
            except EngineFailure as reason:
                self._count_failure()
                log.error("the engine cannot start: %s; next try in %.1f s", reason, self._pause_s)
        log.info("the engine is back")

    @property
    def _pause_s(self) -> float:
        """Before the next worker is started."""
        return min(FIRST_PAUSE_S * 2.0 ** (self._num_failures - 1), LONGEST_PAUSE_S)

    def _unavailable(self) -> EngineRestarting:
        if self._fault is None:
            return EngineRestarting("The engine is starting; try again in a moment.", retry_after_s=2)
        message = (
            f"The engine has stopped and cannot be started again ({self._fault.reason}); it is still tried."
        )
        return EngineRestarting(message, retry_after_s=max(2.0, self._pause_s))


def _with_cures(told: str, device: DeviceChoice) -> str:
    """With what the host shows of why a card does not answer."""
    return told if device == "emulator" else ". ".join([told, *cures_of_silence(Host.look())])


def _shutting_down() -> EngineFailure:
    return EngineFailure("The server is shutting down.")
