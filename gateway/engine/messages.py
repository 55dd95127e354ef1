"""What the two ends of the pipe to the worker process say to each other.

To the worker: a WorkerConfig, then Requests, Cancels and at last a Close.
From it: Ready or Broken, then Results.
"""

from dataclasses import dataclass
from pathlib import Path

from backends.axcl.backend import DeviceKind
from backends.axcl.layers import KvWrite
from backends.base import DecoderInfo, TensorSpec
from gateway.engine.engine import EngineStats, Failed
from gateway.engine.prompt import Output
from gateway.logs import LogFormat


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All a worker needs to know; sizes in bytes. `kv_write` None lets the self-test choose."""

    package: Path
    device: DeviceKind
    device_index: int
    kv_write: KvWrite | None
    emulated_bytes: int
    max_sessions: int
    max_saved_bytes: int
    max_feature_bytes: int
    vision_models: Path | None
    log_format: LogFormat


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the worker loaded. `vision_input` is None for a model without a vision graph."""

    decoder: DecoderInfo
    prefix: str
    vision_input: TensorSpec | None
    kv_write: KvWrite
    max_sessions: int
    emulated: bool


@dataclass(frozen=True, slots=True)
class Cancel:
    request_id: str


@dataclass(frozen=True, slots=True)
class Close:
    pass


@dataclass(frozen=True, slots=True)
class Ready:
    info: EngineInfo


@dataclass(frozen=True, slots=True)
class Broken:
    """The worker's last words."""

    message: str


@dataclass(frozen=True, slots=True)
class Results:
    """What a step gave, with a look at the engine after it."""

    items: tuple[Output | Failed, ...]
    stats: EngineStats
