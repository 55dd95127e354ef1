"""A model on the card: loaded, tested, and run for a few tokens."""

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import TypeVar

import numpy as np

from backends.axcl.decoder import NO_ROWS, AxclDecoder
from backends.axcl.graph import AxclGraph
from backends.axcl.layers import KvWrite
from backends.axcl.measure import execute
from backends.axcl.package import open_package
from backends.axcl.selftest import choose_kv_write
from backends.base import Chunk, Hidden, KVCache, TensorSpec
from gateway.doctor.finding import Finding, Number, failed, fine, skipped, warning
from gateway.doctor.patient import Patient

T = TypeVar("T")

NUM_TOKENS = 16
GARBAGE = (
    "Check the package's files against their checksums (axgate pull does), then reboot the card: "
    "axcl-smi reboot."
)


def package(patient: Patient) -> Finding:
    """Raises PackageError."""
    assert patient.orders.model is not None
    patient.package = found = open_package(patient.orders.model)
    free, needed = patient.runtime.free_bytes, found.load_bytes
    told = f"{found.name}: {found.parts['layers']}, needs {needed >> 20} MiB to load"
    if free is not None and needed > free:
        cure = "Choose a smaller model or stop what else uses the card."
        return failed(f"{told}, {free >> 20} MiB are free", cure, load_bytes=needed, free_bytes=free)
    return fine(told, load_bytes=needed, num_layers=len(found.layers))


def one_execute(patient: Patient) -> Finding:
    """One layer alone, one token of zeros."""
    done = execute(patient.runtime, patient.package.layers[0])
    patient.layer_ms = done.ms
    first = done.groups[0]
    told = f"{done.ms:.3f} ms for a layer; {len(done.groups)} groups, the first takes {_told(first.inputs)}"
    numbers: dict[str, Number | list[Number]] = {
        "ms": round(done.ms, 4),
        "groups": [f"{_told(group.inputs)} → {_told(group.outputs)}" for group in done.groups],
    }
    if not done.finite:
        return failed(f"{told}; zeros give values that are not finite", GARBAGE, **numbers)
    return fine(told, **numbers)


def load(patient: Patient) -> Finding:
    seconds, patient.decoder = _timed(lambda: AxclDecoder(patient.runtime, patient.package))
    patient.undo.callback(patient.decoder.close)
    info = patient.decoder.info
    return fine(
        f"{info.num_layers} layers in {seconds:.1f} s, context {info.context_length}, "
        f"{info.cache_bytes / 1e6:.1f} MB a session",
        seconds=round(seconds, 3),
        context_length=info.context_length,
        cache_bytes=info.cache_bytes,
    )


def self_test(patient: Patient) -> Finding:
    """Raises DeviceError where even the vendor's way gives no numbers."""
    trials = choose_kv_write(patient.decoder)
    told = ", ".join(f"{t.kv_write.value} {'agrees' if t.agrees else 'differs'}" for t in trials)
    patient.agreeing = tuple(t.kv_write for t in trials if t.agrees)
    chosen = patient.decoder.kv_write
    found = f"K/V rows are written the {chosen.value} way ({told})"
    if chosen is not KvWrite.DIRECT:
        cure = "This works, only slower. Say so in an issue, with this report: no card was met so far."
        return warning(found, cure, kv_write=chosen.value)
    return fine(found, kv_write=chosen.value)


def generate(patient: Patient) -> Finding:
    """One chunk and a few tokens, each the likeliest."""
    decoder, info = patient.decoder, patient.decoder.info
    cache = decoder.new_cache()
    patient.undo.callback(cache.free)
    prefill_s, hidden = _timed(lambda: prefilled(decoder, cache))
    size = cache.length
    logits, steps_s = decoder.logits(hidden), []
    for _ in range(min(NUM_TOKENS, info.context_length - size)):
        if not np.isfinite(logits).all() or logits.max() == logits.min():
            return failed("the logits are not finite, or all the same", GARBAGE)
        token_id = int(logits.argmax())
        started_s = perf_counter()
        logits = decoder.logits(decoder.decode(cache, token_id, cache.length))
        steps_s.append(perf_counter() - started_s)
    token_ms, layers_ms = median(steps_s) * 1000, info.num_layers * patient.layer_ms
    return fine(
        f"a chunk of {size} in {prefill_s * 1000:.1f} ms, "
        f"a token in {token_ms:.1f} ms ({1000 / token_ms:.1f}/s), {info.num_layers} times a layer alone is "
        f"{layers_ms:.1f} ms",
        chunk=size,
        prefill_ms=round(prefill_s * 1000, 2),
        token_ms=round(token_ms, 3),
        layers_ms=round(layers_ms, 3),
    )


def prefilled(decoder: AxclDecoder, cache: KVCache) -> Hidden:
    """The first chunk of a prompt that nobody wrote."""
    size = decoder.chunk_size(0, max(1, decoder.info.prefill_chunk))
    places = np.arange(size)
    embeds = decoder.embed(places * 31 % decoder.info.vocab_size)
    return decoder.prefill(cache, Chunk(embeds, np.tile(places.astype(np.uint32), (3, 1)), NO_ROWS, ()))


def vision(patient: Patient) -> Finding:
    """One run on a picture of zeros."""
    path = patient.package.vision
    if path is None:
        return skipped("this model has no vision graph")
    patient.graph = graph = AxclGraph(patient.runtime, path)
    patient.undo.callback(graph.close)
    zeros = {tensor.name: np.zeros(tensor.shape, np.dtype(tensor.dtype)) for tensor in graph.inputs}
    seconds, outputs = _timed(lambda: graph.run(zeros))
    told = f"{_told(graph.inputs)} → {_told(graph.outputs)}"
    if not all(np.isfinite(array.astype(np.float32)).all() for array in outputs.values()):
        return failed(f"a black picture gives features that are not finite: {told}", GARBAGE)
    return fine(f"a black picture in {seconds * 1000:.1f} ms: {told}", ms=round(seconds * 1000, 2))


def _told(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in tensors)


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    started_s = perf_counter()
    result = call()
    return perf_counter() - started_s, result
