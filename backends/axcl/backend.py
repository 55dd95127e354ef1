"""One card: opened, asked for models, closed. The same code drives a real card and the emulated one."""

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from backends.axcl.decoder import AxclDecoder
from backends.axcl.description import Description, read_first, read_graphs
from backends.axcl.graph import AxclGraph
from backends.axcl.layers import KvWrite
from backends.axcl.layout import LayerLayout
from backends.axcl.monitor import read_table, run_tool
from backends.axcl.package import Package
from backends.axcl.rt import Runtime, import_axcl
from backends.axcl.selftest import choose_kv_write
from backends.base import PackageError
from backends.emulator import ClockKind, Emulator, open_clock
from backends.emulator.model import is_emulated

DeviceKind = Literal["card", "emulator"]
DeviceChoice = Literal["auto", "card", "emulator"]
"""`auto` is what the package was made for."""

MARGIN = 32
"""Of so many parts of what was free on a card one stays free: a graph may take more than its file, and
allocations lie in whole pieces. On an emulated card all is counted."""

log = logging.getLogger(__name__)


class AxclBackend:
    """All that is loaded on one card; `close` gives everything back in order."""

    def __init__(self, axcl: Any, device_index: int = 0) -> None:  # noqa: ANN401 - pyAXCL has no types
        self._emulated = isinstance(axcl, Emulator)
        # Before the library is opened, because nothing may be forked afterwards.
        table = "" if hasattr(axcl.rt, "get_device_properties") else run_tool()
        self._runtime = Runtime(axcl, device_index)
        if table:
            self._runtime.assume_free(read_table(table, self._runtime.device_id).cmm_free_bytes)
        free_bytes = self._runtime.free_bytes
        self._margin = 0 if self._emulated or free_bytes is None else free_bytes // MARGIN
        self._undo = ExitStack()
        self._undo.callback(self._runtime.close)

    def decoder(self, package: Package, kv_write: KvWrite | None = None) -> AxclDecoder:
        """Load the language model. Without `kv_write`, the self-test at load chooses (see selftest.py)."""
        decoder = AxclDecoder(self._runtime, package)
        self._undo.callback(decoder.close)
        if kv_write is not None:
            decoder.kv_write = kv_write
            return decoder
        told = ", ".join(map(str, choose_kv_write(decoder)))
        log.info("self-test: K/V rows are written the %s way (%s)", decoder.kv_write.value, told)
        return decoder

    def graph(self, path: Path) -> AxclGraph:
        graph = AxclGraph(self._runtime, path)
        self._undo.callback(graph.close)
        return graph

    def layout(self, package: Package) -> LayerLayout:
        """That of the layers, of which one is loaded for a moment. Raises PackageError and DeviceError."""
        return read_first(self._runtime, package)

    def describe(self, package: Package) -> Description:
        """What the package can do; its vision graph stays loaded. Raises PackageError and DeviceError, as
        loading all of it would."""
        layout, vocab_size = read_graphs(self._runtime, package)
        vision = None if package.vision is None else self.graph(package.vision)
        return Description(package, layout, vocab_size, vision)

    @property
    def emulated(self) -> bool:
        return self._emulated

    @property
    def free_bytes(self) -> int | None:
        """Device memory that may still be taken; None where nobody can tell."""
        left_bytes = self._runtime.free_bytes
        return None if left_bytes is None else left_bytes - self._margin

    def close(self) -> None:
        self._undo.close()


def device_for(package: Package, choice: DeviceChoice = "auto") -> DeviceKind:
    """Raises PackageError where the emulated card is to run what was compiled for a real one."""
    emulated = any(map(is_emulated, package.graphs))
    if choice == "emulator" and not emulated:
        raise PackageError(f"{package.name} is compiled for a card, and the emulated one cannot run it")
    if choice == "auto":
        return "emulator" if emulated else "card"
    return choice


def open_backend(
    kind: DeviceKind, device_index: int, emulated_bytes: int, emulated_clock: ClockKind = "compute"
) -> AxclBackend:
    """The card at `device_index` of the device list, or an emulated one with `emulated_bytes` of memory and
    calls that take as long as `emulated_clock` says. Raises DeviceError."""
    if kind == "card":
        return AxclBackend(import_axcl(), device_index)
    if emulated_clock != "compute":
        log.info("the emulated card takes as long as a card with %s is recorded to take", emulated_clock)
    return AxclBackend(Emulator(cmm_bytes=emulated_bytes, clock=open_clock(emulated_clock)), 0)
