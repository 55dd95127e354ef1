"""The layer graphs of one model, loaded and wired: which buffer every input and output is bound to.

Buffers are chained: the layers of a call alternate between two hidden buffers, so that one layer's output is
the next one's input and no execute reads what it writes. Indices and mask are shared by all layers (see
staging.py). Where the new K/V rows go is a matter of `KvWrite`.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from backends.axcl.handles import Buffer, Model
from backends.axcl.kvcache import AxclKVCache, CacheShape
from backends.axcl.layout import LayerGroup, read_layout
from backends.axcl.loading import load
from backends.axcl.rt import Runtime
from backends.axcl.signature import check_same
from backends.axcl.staging import Staging


class KvWrite(Enum):
    """How a call's K/V rows reach the cache; round trips per layer and token in brackets.

    VENDOR copies everything for every layer, as the vendor's runner does (6). COPY chains and shares buffers
    and copies the two rows on the device (3). DIRECT also lets the layer write them in place (1).
    """

    VENDOR = "vendor"
    COPY = "copy"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Trial:
    """One way's run in the self-test: whether its logits and cache rows equal the vendor's to the bit, and
    how long it took; None where the card refused it."""

    kv_write: KvWrite
    agrees: bool
    ms: float | None

    def __str__(self) -> str:
        took = "refused" if self.ms is None else f"{self.ms:.1f} ms"
        return f"{self.kv_write.value} {'ok' if self.agrees else 'DIFFERS'} {took}"


@dataclass(frozen=True, slots=True)
class Layer:
    model: Model
    ios: tuple[int, ...]  # one per shape group


@dataclass(frozen=True, slots=True)
class Lane:
    """What the calls of one chunk size share: decode groups have one lane, prefill groups another."""

    staging: Staging
    hidden: tuple[Buffer, Buffer]  # the first is where the staged embeds arrive


class Layers:
    """Loaded layer graphs; raises PackageError or DeviceError and leaves nothing behind."""

    def __init__(self, runtime: Runtime, paths: tuple[Path, ...]) -> None:
        self._runtime = runtime
        with ExitStack() as undo:
            first = self._load(undo, paths[0])
            self.layout = read_layout(first.model)
            self.all = (first, *(self._load(undo, path, first.model) for path in paths[1:]))
            self.cache_shape = CacheShape.of(self.layout, len(self.all))
            self._decode = self._lane(undo, self.layout.decode)
            self._prefill = self._lane(undo, self.layout.prefill) if self.layout.prefill else self._decode
            rows = self.layout.chunk * self.cache_shape.row_bytes
            self.new_keys = self._malloc(undo, rows)
            self.new_values = self._malloc(undo, rows)
            self._undo = undo.pop_all()
        self.wire(KvWrite.VENDOR)

    def close(self) -> None:
        self._undo.close()

    def wire(self, kv_write: KvWrite) -> None:
        """Bind every buffer that stays the same from call to call."""
        self.kv_write = kv_write
        self._bound: dict[LayerGroup, AxclKVCache] = {}
        inputs, outputs = self.layout.inputs, self.layout.outputs
        for group in (*self.layout.decode, *self.layout.prefill):
            lane = self.lane(group)
            for index, layer in enumerate(self.all):
                io = layer.ios[group.index]
                self._runtime.set_input(io, inputs["indices"], lane.staging.indices)
                self._runtime.set_input(io, inputs["mask"], lane.staging.mask)
                self._runtime.set_input(io, inputs["input"], lane.hidden[self._chained(index)])
                self._runtime.set_output(io, outputs["output"], lane.hidden[1 - self._chained(index)])
                self._runtime.set_output(io, outputs["K_cache_out"], self.new_keys)
                self._runtime.set_output(io, outputs["V_cache_out"], self.new_values)

    def attach(self, group: LayerGroup, cache: AxclKVCache) -> None:
        """Let `group` read `cache`. Switching sessions is this and nothing else: no bytes move."""
        if self._bound.get(group) is cache:
            return
        for index, layer in enumerate(self.all):
            io = layer.ios[group.index]
            self._runtime.set_input(io, self.layout.inputs["K_cache"], cache.keys[index])
            self._runtime.set_input(io, self.layout.inputs["V_cache"], cache.values[index])
        self._bound[group] = cache

    def lane(self, group: LayerGroup) -> Lane:
        return self._decode if group.chunk == 1 else self._prefill

    def output(self, group: LayerGroup, index: int) -> Buffer:
        """Where the output of layer `index` stands once the layer is done."""
        hidden = self.lane(group).hidden
        return hidden[0] if self.kv_write is KvWrite.VENDOR else hidden[1 - self._chained(index)]

    def _chained(self, index: int) -> int:
        return 0 if self.kv_write is KvWrite.VENDOR else index % 2

    def _load(self, undo: ExitStack, path: Path, first: Model | None = None) -> Layer:
        model = load(self._runtime, path)
        undo.callback(self._runtime.unload, model)
        if first is not None:
            check_same(model, first)
        ios = []
        for _ in model.groups:
            ios.append(self._runtime.create_io(model))
            undo.callback(self._runtime.destroy_io, ios[-1])
        return Layer(model, tuple(ios))

    def _lane(self, undo: ExitStack, groups: tuple[LayerGroup, ...]) -> Lane:
        staging = Staging(self._runtime, groups, self.layout.hidden_size)
        undo.callback(self._runtime.free, staging.buffer)
        return Lane(staging, (staging.hidden, self._malloc(undo, staging.hidden.size)))

    def _malloc(self, undo: ExitStack, size: int) -> Buffer:
        buffer = self._runtime.malloc(size)
        undo.callback(self._runtime.free, buffer)
        return buffer
