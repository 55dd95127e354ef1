"""What is examined: the machine, its card, and a model on it. Lives in the process that may hang."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.axcl.backend import DeviceKind
from backends.axcl.decoder import AxclDecoder
from backends.axcl.graph import AxclGraph
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package
from backends.axcl.rt import Runtime
from gateway.doctor.machine import Machine
from gateway.vision.registry import AnyEncoder


@dataclass(frozen=True, slots=True)
class Orders:
    """What shall be examined. Without `model`, nothing is run on the NPU. `smi` is the path of axcl-smi. With
    `stress`, processes are killed at their work, and the card's memory is filled."""

    machine: Machine
    device: DeviceKind
    device_index: int
    model: Path | None
    smi: Path
    stress: bool = False


class Patient:
    """What one check opens is there for the next; `undo` gives all of it back."""

    axcl: Any  # pyAXCL has no types
    runtime: Runtime
    package: Package
    decoder: AxclDecoder
    layer_ms: float
    agreeing: tuple[KvWrite, ...]
    """Ways of writing K/V rows that the self-test found equal, the vendor's first."""
    graph: AxclGraph

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.undo = ExitStack()
        self.encoder: AnyEncoder | None = None
        self.cmm_free_bytes: int | None = None  # before anything was loaded; None where nobody can tell

    @property
    def machine(self) -> Machine:
        return self.orders.machine
