"""An engine without a worker process: it loads as slowly as its test wants, and keeps count of the device."""

import asyncio
from dataclasses import dataclass, replace
from typing import cast

from backends.axcl.layers import KvWrite
from gateway.engine.client import EngineClient, EngineStatus
from gateway.engine.fleet import Fleet, Member
from gateway.engine.health import State
from gateway.engine.messages import EngineInfo, Place
from gateway.engine.process import DeviceFull
from gateway.engine.room import Need, NoRoom, num_sessions
from gateway.errors import EngineFailure
from tests.engine.toy import ToyDevice

CACHE_BYTES = 10


@dataclass
class Card:
    """Memory that all engines share. `told` is whether a model can learn how much there is. `log` is what
    happened: +name loaded, ?name had too little memory, -name unloaded. Whoever loads waits for `gate`, and
    `broken` ones never do. `devices` is where each was told to go."""

    num_bytes: int
    told: bool = True

    def __post_init__(self) -> None:
        self.used = 0
        self.log: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: set[str] = set()
        self.devices: list[str] = []


class ScriptedClient:
    """Takes `model_bytes`, and while it loads `peak_bytes` more."""

    def __init__(
        self, card: Card, name: str, model_bytes: int, max_sessions: int = 2, peak_bytes: int = 0
    ) -> None:
        self._card = card
        self._name = name
        self._model_bytes = model_bytes
        self._max_sessions = max_sessions
        self._peak_bytes = peak_bytes
        self._state: State = "unloaded"
        self.info: EngineInfo | None = None

    @property
    def status(self) -> EngineStatus:
        return EngineStatus(self._state, 0, 0, {}, None)

    @property
    def loaded(self) -> bool:
        return self._state == "ready"

    async def load(self, place: Place) -> EngineInfo:
        assert self._state == "unloaded"
        self._state = "loading"
        try:
            info = await self._info(place)
        except EngineFailure:
            self._state = "unloaded"
            raise
        self._state = "ready"
        self.info = info
        self._card.used += info.reserved_bytes
        assert self._card.used <= self._card.num_bytes
        self._card.log.append(f"+{self._name}")
        return info

    async def unload(self) -> None:
        assert self.info
        self._state = "unloaded"
        await asyncio.sleep(0)
        self._card.used -= self.info.reserved_bytes
        self._card.log.append(f"-{self._name}")

    async def close(self) -> None:
        self._state = "closed"

    async def _info(self, place: Place) -> EngineInfo:
        free = self._card.num_bytes - self._card.used
        self._card.devices.append(place.device)
        await self._card.gate.wait()
        if self._name in self._card.broken:
            raise EngineFailure("it is broken")
        if self._model_bytes + self._peak_bytes > free:
            self._card.log.append(f"?{self._name}")
            raise DeviceFull("out of card memory")
        if self._card.told:
            free = place.part_of(free)
        try:
            sessions = num_sessions(free - self._model_bytes, CACHE_BYTES, self._max_sessions, place.others)
        except NoRoom as reason:
            raise DeviceFull(str(reason)) from None
        decoder = replace(ToyDevice.info, cache_bytes=CACHE_BYTES)
        told = free if self._card.told else None
        need = Need(self._model_bytes, CACHE_BYTES, self._model_bytes)
        return EngineInfo(decoder, "toy", None, KvWrite.DIRECT, sessions, "emulator", need, told)


def fleet(card: Card, peak_bytes: int = 0, max_sessions: int = 2, **sizes: int) -> Fleet:
    """Of models with these names and bytes, whose files tell as much."""
    members = []
    for name, model_bytes in sizes.items():
        client = ScriptedClient(card, name, model_bytes, max_sessions, peak_bytes)
        guess = Need(model_bytes, None, model_bytes)
        members.append(Member(name, cast(EngineClient, client), guess))
    return Fleet(members, "auto")
