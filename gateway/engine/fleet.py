"""The models of one device: which are loaded, and which makes room for one that is wanted.

Whoever wants a model that is not loaded waits for it in line. The first in line chooses who has to make room
(see room.py), nobody enters those any more, and when the last user has left them they are unloaded. Whoever
wants one of them meanwhile waits in line as well, behind the one it makes room for. So everybody's turn
comes, and each turn is for all who wait for that model.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from backends.axcl.backend import DeviceChoice
from gateway.engine.client import EngineClient, EngineStatus
from gateway.engine.messages import EngineInfo, Place
from gateway.engine.process import DeviceFull
from gateway.engine.room import Need, NoRoom, Tenant, leavers, shortage
from gateway.errors import EngineFailure, GatewayError

log = logging.getLogger(__name__)


class Member:
    """One model: its engine, who uses it, and who waits for it. `guess` is what is known of its need before
    it was ever loaded."""

    def __init__(self, name: str, client: EngineClient, guess: Need) -> None:
        self.name = name
        self.client = client
        self.num_users = 0
        self.used = 0
        self.leaving = False
        self.waiting: list[asyncio.Future[GatewayError | None]] = []
        self.short_bytes = 0  # so much was too little when it was tried
        self.fault: EngineFailure | None = None  # why it could not be loaded, if not for want of memory
        self._guess = guess

    @property
    def is_open(self) -> bool:
        return self.client.loaded and not self.leaving

    @property
    def need(self) -> Need:
        return self.client.info.need if self.client.info else self._guess

    @property
    def least_bytes(self) -> int:
        return max(self.need.least_bytes(), self.short_bytes + 1)

    @property
    def taken_bytes(self) -> int:
        """What is its own of the device."""
        return self.client.info.reserved_bytes if self.client.info and self.client.loaded else 0

    def settle(self, error: GatewayError | None) -> None:
        """Everybody who waits may enter, and counts as a user from now on, or is told why not."""
        for turn in self.waiting:
            if not turn.done():
                turn.set_result(error)
                self.num_users += error is None
        self.waiting.clear()


class Fleet:
    """`device` is where the first model is loaded; the others go where that one went."""

    def __init__(self, members: Sequence[Member], device: DeviceChoice) -> None:
        self._members = {member.name: member for member in members}
        self._device = device
        self._device_bytes: int | None = None  # unknown before the first load, or for good
        self._line: list[Member] = []
        self._serving: asyncio.Task[None] | None = None
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._clock = 0
        self._closed = False

    @property
    def status(self) -> dict[str, EngineStatus]:
        """By model; who waits for a model to be loaded is a request in flight, too."""
        return {
            name: replace(status, num_requests=status.num_requests + len(member.waiting))
            for name, member in self._members.items()
            for status in [member.client.status]
        }

    @property
    def device(self) -> DeviceChoice:
        """Where the models are, once the first one is loaded."""
        return self._device

    @property
    def num_sessions(self) -> int:
        """How many conversations the loaded models together have KV caches for."""
        infos = [member.client.info for member in self._members.values() if member.client.loaded]
        return sum(info.max_sessions for info in infos if info)

    async def start(self) -> None:
        """Load the first model. Raises EngineFailure, also where another one does not even fit alone."""
        first, *others = self._members.values()
        async with self._loading:
            await self._load(first)
        for member in others:
            try:
                member.need.check(self._device_bytes, self._emulated_bytes)
            except NoRoom as reason:
                raise _not_loaded(member, reason) from None

    async def fill(self, name: str) -> bool:
        """Load a model where that takes no other's place; what goes wrong is logged. Whether it is loaded."""
        member = self._members[name]
        async with self._loading:
            free_bytes = self._free_bytes
            if member.client.loaded:
                return True
            if free_bytes is not None and member.least_bytes > free_bytes:
                log.warning("no room yet for %s: %s", name, shortage(member.least_bytes, free_bytes))
                return False
            try:
                await self._load(member)
            except DeviceFull as reason:
                log.warning("%s Until it is asked for, there is no room beside the others.", reason)
            except EngineFailure as reason:
                log.error("%s", reason)
        return member.client.loaded

    async def info(self, name: str) -> EngineInfo:
        """What a model can do; loads it where it never was. Raises what `using` raises."""
        info = self._members[name].client.info
        if info is None:
            async with self.using(name) as client:
                info = client.info
        assert info
        return info

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[EngineClient]:
        """The engine of a model, which stays loaded as long as the block; first waits until it is. Raises
        EngineFailure where it cannot be loaded."""
        member = self._members[name]
        await self._enter(member)
        try:
            yield member.client
        finally:
            self._leave(member)

    async def close(self) -> None:
        """End all engines; whoever uses or awaits one is told."""
        self._closed = True
        if self._serving:
            self._serving.cancel()
        for member in self._members.values():
            member.settle(_shutting_down())
        await asyncio.gather(*(member.client.close() for member in self._members.values()))

    async def _enter(self, member: Member) -> None:
        if self._closed:
            raise _shutting_down()
        self._touch(member)
        if member.is_open:
            member.num_users += 1
            return
        turn: asyncio.Future[GatewayError | None] = asyncio.get_running_loop().create_future()
        member.waiting.append(turn)
        if member not in self._line:
            self._line.append(member)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve_line())
        try:
            error = await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result() is None:  # it had just been let in
                self._leave(member)
            elif turn in member.waiting:
                member.waiting.remove(turn)
                self._changed.set()
            raise
        if error:
            raise error

    def _leave(self, member: Member) -> None:
        member.num_users -= 1
        self._touch(member)
        self._changed.set()

    def _touch(self, member: Member) -> None:
        self._clock += 1
        member.used = self._clock

    async def _serve_line(self) -> None:
        while self._line:
            member, error = self._line[0], None
            async with self._loading:
                try:
                    await self._bring(member)
                except EngineFailure as reason:
                    log.error("%s", reason)
                    error = reason
                except Exception:  # whoever waits must hear of it
                    log.exception("loading the model %s failed", member.name)
                    error = EngineFailure(f"The model {member.name} cannot be loaded.")
                finally:
                    self._choose([])
            if member in self._line:
                self._line.remove(member)
            member.settle(error)

    async def _bring(self, member: Member) -> None:
        """Load what the first in line waits for, as soon as there is room; gives up when nobody waits."""
        while member.waiting and not member.client.loaded:
            self._changed.clear()
            leaving = self._leavers(member)
            self._choose(leaving)
            if any(each.num_users for each in leaving):
                await self._changed.wait()
                continue
            for each in leaving:
                log.info("unloading", extra={"facts": {"model": each.name, "for": member.name}})
                await each.client.unload()
            try:
                await self._load(member)
            except DeviceFull:
                if not self._tenants:
                    raise

    def _leavers(self, member: Member) -> list[Member]:
        if self._free_bytes is None:
            return []  # it is tried
        try:
            names = leavers(member.least_bytes, self._free_bytes, self._tenants)
        except NoRoom as reason:
            advice = member.need.advice(self._device_bytes, self._emulated_bytes)
            raise _not_loaded(member, NoRoom(f"{reason}. {advice}")) from None
        if names and member.fault:
            raise member.fault  # nobody makes room for it in vain once more
        return [self._members[name] for name in names]

    def _choose(self, leaving: Sequence[Member]) -> None:
        """From now on nobody enters these; whoever waits for one that may be entered again is let in."""
        for member in self._members.values():
            member.leaving = member in leaving
        for member in [each for each in self._line if each.is_open]:
            self._line.remove(member)
            member.settle(None)

    def _learn(self, member: Member) -> None:
        """What was free was too little, though it seemed enough: one more has to leave."""
        if self._free_bytes is None:
            self._device_bytes = sum(each.num_bytes for each in self._tenants) + member.least_bytes - 1
        else:
            member.short_bytes = self._free_bytes

    async def _load(self, member: Member) -> None:
        others = [each for each in self._members.values() if each is not member and not each.client.loaded]
        place = Place(self._device, self._free_bytes, tuple(each.need for each in others))
        log.info("loading", extra={"facts": {"model": member.name}})
        try:
            info = await member.client.load(place)
        except EngineFailure as reason:
            failure = _not_loaded(member, reason)
            if not isinstance(reason, DeviceFull):
                member.fault = failure
            elif self._tenants:
                self._learn(member)
            raise failure from None
        member.fault = None
        if self._device_bytes is None:
            self._device_bytes = info.free_bytes
        self._device = info.device
        log.info("loaded", extra={"facts": {"model": member.name, "sessions": info.max_sessions}})

    @property
    def _tenants(self) -> list[Tenant]:
        return [
            Tenant(each.name, each.taken_bytes, each.num_users > 0, each.leaving, each.used)
            for each in self._members.values()
            if each.client.loaded
        ]

    @property
    def _emulated_bytes(self) -> int | None:
        return self._device_bytes if self._device == "emulator" else None

    @property
    def _free_bytes(self) -> int | None:
        """What is nobody's; None where the size of the device is unknown."""
        if self._device_bytes is None:
            return None
        return self._device_bytes - sum(tenant.num_bytes for tenant in self._tenants)


def _not_loaded(member: Member, reason: Exception) -> EngineFailure:
    kind = DeviceFull if isinstance(reason, DeviceFull | NoRoom) else EngineFailure
    return kind(f"The model {member.name} cannot be loaded: {str(reason).rstrip('.')}.")


def _shutting_down() -> EngineFailure:
    return EngineFailure("The server is shutting down.")
