"""The decode loop: every layer of the language model, one chunk or one token at a time."""

from contextlib import ExitStack
from functools import cached_property

import numpy as np

from backends.axcl.embeddings import EmbeddingTable
from backends.axcl.handles import Buffer
from backends.axcl.head import Head
from backends.axcl.hints import check_window
from backends.axcl.kvcache import AxclKVCache
from backends.axcl.layers import KvWrite, Layer, Layers, Trial
from backends.axcl.layout import LayerGroup
from backends.axcl.loading import load
from backends.axcl.package import Package
from backends.axcl.rt import Runtime
from backends.base import Array, Chunk, DecoderInfo, Hidden, KVCache

NO_ROWS = np.zeros(0, np.int64)


class AxclDecoder:
    """The language model of one package, loaded; raises PackageError or DeviceError and leaves nothing
    behind. `trials` are those of the self-test: none where it was not run."""

    def __init__(self, runtime: Runtime, package: Package) -> None:
        self._runtime = runtime
        self.trials: tuple[Trial, ...] = ()
        with ExitStack() as undo:
            # Before the layers, because it is larger than one: see Package.load_bytes.
            post = load(runtime, package.post)
            undo.callback(runtime.unload, post)
            self._layers = Layers(runtime, package.layers)
            undo.callback(self._layers.close)
            self.layout = self._layers.layout
            check_window(package.config, self.layout.context_length)
            self._table = EmbeddingTable(package.embeddings, self.layout.hidden_size)
            self._head = Head(runtime, post, self.layout.hidden_size, len(self._table))
            undo.callback(self._head.close)
            self._table.check(self._head.vocab_size)
            self._undo = undo.pop_all()

    @cached_property
    def info(self) -> DecoderInfo:
        cache_bytes = self._layers.cache_shape.nbytes
        return self.layout.info(len(self._layers.all), self._head.vocab_size, cache_bytes)

    @property
    def kv_write(self) -> KvWrite:
        return self._layers.kv_write

    @kv_write.setter
    def kv_write(self, kv_write: KvWrite) -> None:
        self._layers.wire(kv_write)

    def new_cache(self) -> AxclKVCache:
        return AxclKVCache(self._runtime, self._layers.cache_shape)

    def embed(self, token_ids: Array) -> Array:
        return self._table[token_ids]

    def chunk_size(self, length: int, num_remaining: int) -> int:
        layout = self.layout
        if not layout.prefill or length > layout.prefill_history:
            return 1
        # Stopping exactly at the last group's history lets it take one whole chunk more.
        if length < layout.prefill_history < length + layout.chunk < length + num_remaining:
            return layout.prefill_history - length
        return min(layout.chunk, num_remaining)

    def prefill(self, cache: KVCache, chunk: Chunk) -> Hidden:
        assert isinstance(cache, AxclKVCache)
        assert len(chunk.deepstack) <= len(self._layers.all)
        group = self._group(cache.length, chunk)
        self._layers.attach(group, cache)
        staging = self._layers.lane(group).staging
        staging.fill(group, chunk.embeds, chunk.positions, cache.length)
        if self.kv_write is KvWrite.VENDOR:
            staging.upload_hidden()
        else:
            staging.upload()
        for index, layer in enumerate(self._layers.all):
            self._run(group, index, layer, cache, chunk.num_tokens)
            if index < len(chunk.deepstack) and chunk.visual_rows.size:
                self._add(self._layers.output(group, index), chunk.visual_rows, chunk.deepstack[index])
        cache.advance(chunk.num_tokens)
        row = 2 * self.layout.hidden_size
        last = self._layers.output(group, len(self._layers.all) - 1)
        return Hidden(last.part((chunk.num_tokens - 1) * row, row).address)

    def decode(self, cache: KVCache, token_id: int, position: int) -> Hidden:
        embeds = self._table[token_id : token_id + 1]
        return self.prefill(cache, Chunk(embeds, np.full((3, 1), position, np.uint32), NO_ROWS, ()))

    def logits(self, hidden: Hidden) -> Array:
        return self._head.logits(hidden, chained=self.kv_write is not KvWrite.VENDOR)

    def close(self) -> None:
        self._undo.close()

    def _group(self, length: int, chunk: Chunk) -> LayerGroup:
        """The smallest group that fits: its cost follows the history it could see, not the one it does see.

        Where decode groups have a single index row, a lone picture token, which differs in its rows, is
        prefilled.
        """
        layout = self.layout
        single = chunk.num_tokens == 1 and (
            layout.decode[0].index_rows == layout.index_rows
            or bool((chunk.positions == chunk.positions[0]).all())
        )
        groups = layout.decode if single else layout.prefill
        last = None
        for group in groups:
            if length <= group.history and chunk.num_tokens <= group.chunk:
                return group
            last = group
        limit = last.history if last else 0
        raise ValueError(f"{chunk.num_tokens} positions behind {length} rows: the limit is {limit} rows")

    def _run(self, group: LayerGroup, index: int, layer: Layer, cache: AxclKVCache, num_tokens: int) -> None:
        layers, runtime, io = self._layers, self._runtime, layer.ios[group.index]
        row = layers.cache_shape.row_bytes
        first, size = cache.length * row, group.chunk * row
        if layers.kv_write is KvWrite.DIRECT:
            runtime.set_output(io, self.layout.outputs["K_cache_out"], cache.keys[index].part(first, size))
            runtime.set_output(io, self.layout.outputs["V_cache_out"], cache.values[index].part(first, size))
            runtime.execute(layer.model, group.index, io)
            return
        lane, size = layers.lane(group), num_tokens * row
        if layers.kv_write is KvWrite.VENDOR:
            lane.staging.upload_indices_and_mask()
        runtime.execute(layer.model, group.index, io)
        runtime.copy(cache.keys[index].part(first, size), layers.new_keys.part(0, size))
        runtime.copy(cache.values[index].part(first, size), layers.new_values.part(0, size))
        if layers.kv_write is KvWrite.VENDOR:
            source, target = lane.hidden[1], lane.hidden[0]
            runtime.copy(target, source.part(0, 2 * self.layout.hidden_size * group.chunk))

    def _add(self, output: Buffer, rows: Array, features: Array) -> None:
        """Deepstack: bf16 hidden + features in float32, rounded to nearest even, at the visual rows only."""
        first, stop = int(rows[0]), int(rows[-1]) + 1
        size = 2 * self.layout.hidden_size
        part = output.part(first * size, (stop - first) * size)
        hidden = np.empty((stop - first, self.layout.hidden_size), "bfloat16")
        self._runtime.download(hidden, part)
        hidden[rows - first] = (hidden[rows - first].astype(np.float32) + features).astype(hidden.dtype)
        self._runtime.upload(part, hidden)
