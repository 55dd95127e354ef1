"""What a card does with nothing but copies and one execute: whether bits survive, and how long it takes."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from backends.axcl.handles import Buffer, Group
from backends.axcl.loading import load
from backends.axcl.rt import Runtime
from backends.base import Array

NUM_ROUND_TRIPS = 200
NUM_EXECUTES = 20
TINY = 4  # bytes, as an index row of decode
ROW = 2048  # bytes, as a hidden state or a K row


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Bytes in a second, for copies of `size` bytes: host to device, on the device, device to host."""

    size: int
    up: float
    across: float
    down: float


@dataclass(frozen=True, slots=True)
class Executed:
    """One run of a graph's first group on zeros, in milliseconds; `finite` says whether all outputs are."""

    groups: tuple[Group, ...]
    ms: float
    finite: bool


def copies_agree(runtime: Runtime, size: int) -> bool:
    """`size` bytes up, across and down again come back as they were, and fresh memory is zero."""
    sent = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    back, fresh = np.empty_like(sent), np.ones_like(sent)
    with ExitStack() as undo:
        source, target = _malloc(undo, runtime, size), _malloc(undo, runtime, size)
        runtime.download(fresh, target)
        runtime.upload(source, sent)
        runtime.copy(target, source)
        runtime.download(back, target)
    return not fresh.any() and np.array_equal(sent, back)


def round_trip_ms(runtime: Runtime) -> float:
    """The median of what a copy of next to nothing to the device takes."""
    with ExitStack() as undo:
        target, source = _malloc(undo, runtime, TINY), np.zeros(TINY, np.uint8)
        return _median_ms(lambda: runtime.upload(target, source), NUM_ROUND_TRIPS)


def row_copy_ms(runtime: Runtime) -> float:
    """The median of what a copy of one row on the device takes."""
    with ExitStack() as undo:
        target, source = _malloc(undo, runtime, ROW), _malloc(undo, runtime, ROW)
        return _median_ms(lambda: runtime.copy(target, source), NUM_ROUND_TRIPS)


def bandwidth(runtime: Runtime, size: int, num_times: int = 5) -> Bandwidth:
    """Each the median of `num_times` copies; what they need is given back."""
    host: Array = np.zeros(size, np.uint8)
    with ExitStack() as undo:
        source, target = _malloc(undo, runtime, size), _malloc(undo, runtime, size)
        calls: tuple[Callable[[], None], ...] = (
            lambda: runtime.upload(source, host),
            lambda: runtime.copy(target, source),
            lambda: runtime.download(host, target),
        )
        up, across, down = (size / _median_ms(call, num_times) * 1000 for call in calls)
    return Bandwidth(size, up, across, down)


def execute(runtime: Runtime, path: Path) -> Executed:
    """Load a graph, run its first group on zeros, and unload it. Raises DeviceError."""
    with ExitStack() as undo:
        model = load(runtime, path)
        undo.callback(runtime.unload, model)
        io = runtime.create_io(model)
        undo.callback(runtime.destroy_io, io)
        group = model.groups[0]
        for index, tensor in enumerate(group.inputs):
            runtime.set_input(io, index, _malloc(undo, runtime, tensor.nbytes))
        outputs = [_malloc(undo, runtime, tensor.nbytes) for tensor in group.outputs]
        for index, buffer in enumerate(outputs):
            runtime.set_output(io, index, buffer)
        ms = _median_ms(lambda: runtime.execute(model, 0, io), NUM_EXECUTES)
        found = [np.empty(tensor.shape, np.dtype(tensor.dtype)) for tensor in group.outputs]
        for array, buffer in zip(found, outputs, strict=True):
            runtime.download(array, buffer)
    finite = all(np.isfinite(array.astype(np.float32)).all() for array in found)
    return Executed(model.groups, ms, finite)


def _malloc(undo: ExitStack, runtime: Runtime, size: int) -> Buffer:
    buffer = runtime.malloc(size)
    undo.callback(runtime.free, buffer)
    return buffer


def _median_ms(call: Callable[[], None], num_times: int) -> float:
    """The first call, which may find caches cold, is not counted."""
    call()
    times = []
    for _ in range(num_times):
        started_s = perf_counter()
        call()
        times.append(perf_counter() - started_s)
    return median(times) * 1000
