"""What the two ends of the pipe to the worker process say to each other.

To the worker: a WorkerConfig, then Requests, Cancels and at last a Close.
From it: Opened, then Ready or Broken, then Working and Results, and Broken where the device fails.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.axcl.backend import DeviceChoice, DeviceKind
from backends.axcl.layers import KvWrite, Trial
from backends.base import DecoderInfo, TensorSpec
from backends.emulator import ClockKind
from gateway.engine.engine import EngineStats, Failed
from gateway.engine.generation import WorkKind
from gateway.engine.health import Level
from gateway.engine.prompt import Output
from gateway.engine.room import Need
from gateway.logs import LogFormat

KvChoice = dict[str, Any]
"""How K/V rows are written, `chosen`, and what the self-test found of each way, `trials`; for `/health`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is loaded, and how much of the device it may take.

    device_bytes: what the other models leave of it; None where nobody knows yet, and all that is free may be
    taken. others: what models that are not loaded will need, the first to be loaded first.
    """

    device: DeviceChoice
    device_bytes: int | None = None
    others: tuple[Need, ...] = ()

    def part_of(self, free_bytes: int) -> int:
        """What may be taken where so much is free."""
        return free_bytes if self.device_bytes is None else min(free_bytes, self.device_bytes)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All a worker needs to know; sizes in bytes. `kv_write` None lets the self-test choose."""

    package: Path
    place: Place
    device_index: int
    kv_write: KvWrite | None
    emulated_bytes: int
    emulated_clock: ClockKind
    max_sessions: int
    max_saved_bytes: int
    max_feature_bytes: int
    vision_models: Path | None
    vision_entries: tuple[str, ...]
    log_format: LogFormat


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the worker loaded. `vision_input` is None for a model without a vision graph.

    holds_grammars: whether its replies can be made to follow a grammar (SamplingParams.grammar).
    need: the device memory that it takes. free_bytes: what was free before; None where nobody can tell.
    trials: what the self-test found, by which `kv_write` was chosen; none where the settings chose.
    """

    decoder: DecoderInfo
    prefix: str
    vision_input: TensorSpec | None
    kv_write: KvWrite
    max_sessions: int
    device: DeviceKind
    need: Need
    free_bytes: int | None
    holds_grammars: bool = True
    trials: tuple[Trial, ...] = field(default=(), compare=False)  # they differ in how long they took

    @property
    def reserved_bytes(self) -> int:
        """Device memory that is its own, also where no KV cache has been needed yet: what its worker would
        take to load it once more, after the one before has died, is always among it."""
        resident_bytes = self.need.model_bytes + self.max_sessions * self.decoder.cache_bytes
        return max(resident_bytes, self.need.load_bytes)

    @property
    def kv_choice(self) -> KvChoice:
        tried = [
            {"kv_write": each.kv_write.value, "agrees": each.agrees, "ms": each.ms and round(each.ms, 3)}
            for each in self.trials
        ]
        return {"chosen": self.kv_write.value, "trials": tried}


@dataclass(frozen=True, slots=True)
class Cancel:
    request_id: str


@dataclass(frozen=True, slots=True)
class Close:
    pass


@dataclass(frozen=True, slots=True)
class Opened:
    """The device has answered."""


@dataclass(frozen=True, slots=True)
class Ready:
    info: EngineInfo


@dataclass(frozen=True, slots=True)
class Broken:
    """The worker's last words, and which level it found broken; `no_room` where the device had too little
    memory for it."""

    message: str
    level: Level
    no_room: bool


@dataclass(frozen=True, slots=True)
class Working:
    """What the worker is about to do and for whom, and how long the longest of the kind took it: None for the
    first."""

    kind: WorkKind
    request_id: str
    longest_s: float | None


@dataclass(frozen=True, slots=True)
class Results:
    """What a step gave, with a look at the engine after it."""

    items: tuple[Output | Failed, ...]
    stats: EngineStats
