"""What a chunk of a prompt costs: round trips, bytes, time of the host, and the card's time and its limit.

    python -m bench.prefill [--model qwen3-vl-2b] [--kv-write direct]

One chunk after the other, so that each takes the next larger shape group; where a model adds features to the
output of its first layers, the chunks are told apart by whether they are all picture or all text. How it is
measured, and what the card's limit is: see decode.py. The head is not part of it: only the last chunk pays
for that.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns

import numpy as np
from rich.console import Console
from rich.table import Table

from backends.axcl.backend import AxclBackend
from backends.axcl.decoder import NO_ROWS, AxclDecoder
from backends.axcl.kvcache import AxclKVCache
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package
from backends.base import Chunk
from backends.emulator import Counters, Emulator, Recorded, RecordedClock
from bench.decode import MODELS
from bench.schedule import write_schedule

NUM_REPEATS = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one chunk behind `history` rows: what it moved, and what it took on the card and on the host."""

    history: int
    picture: bool
    counters: Counters
    card_ms: float
    host_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description="Round trips, bytes and time of the chunks of a prompt.")
    parser.add_argument("--model", choices=MODELS, action="append", help="of which schedule (default: all)")
    parser.add_argument(
        "--kv-write", type=KvWrite, default=KvWrite.DIRECT, help="vendor, copy or direct (the default)"
    )
    options = parser.parse_args()
    for name in options.model or MODELS:
        recorded = Recorded.load(name)
        with TemporaryDirectory() as folder:
            package = write_schedule(recorded, Path(folder) / name)
            Console(width=150).print(
                table(recorded, options.kv_write, chunks(recorded, package, options.kv_write))
            )


def table(recorded: Recorded, kv_write: KvWrite, costs: Iterator[Cost]) -> Table:
    shown = Table(
        *("history", "chunk", "round trips", "bytes up", "bytes down", "bytes on card"),
        *("host µs", "card ms", "of the card's limit"),
        title=f"{recorded.name}: chunks of {recorded.prefill_len}, K/V rows the {kv_write.value} way",
    )
    for cost in costs:
        moved = (cost.counters.num_bytes[f"memcpy_{way}"] for way in ("h2d", "d2h", "d2d"))
        shown.add_row(
            str(cost.history),
            "picture" if cost.picture else "text",
            str(cost.counters.round_trips.total()),
            *(f"{num_bytes:,}" for num_bytes in moved),
            f"{1000 * cost.host_ms:.0f}",
            f"{cost.card_ms:.1f}",
            f"{limit_ms(recorded, cost.history) / (cost.card_ms + cost.host_ms):.3f}",
        )
    return shown


def limit_ms(recorded: Recorded, history: int) -> float:
    """The executes of one chunk, one after the other over PCIe."""
    layer_ms = recorded.layer_ms(recorded.prefill_len, history) + recorded.link.round_trip_ms
    return recorded.num_layers * layer_ms


def chunks(recorded: Recorded, package: Package, kv_write: KvWrite) -> Iterator[Cost]:
    """Text for every shape group, and where it differs a picture for the first."""
    for history in sorted(recorded.prefill_ms):
        yield one_chunk(recorded, package, kv_write, history, picture=False)
        if recorded.num_deepstack and not history:
            yield one_chunk(recorded, package, kv_write, history, picture=True)


def one_chunk(
    recorded: Recorded, package: Package, kv_write: KvWrite, history: int, *, picture: bool
) -> Cost:
    clock = RecordedClock(recorded)
    card = Emulator(clock=clock)
    backend = AxclBackend(card)
    decoder = backend.decoder(package, kv_write)
    cache = decoder.new_cache()
    cache.advance(history)  # rows of zeros are as good as any
    chunk = whole_chunk(recorded, decoder, picture)
    counted, began_ms = card.counters.copy(), clock.elapsed_ms
    decoder.prefill(cache, chunk)
    counters, card_ms = card.counters - counted, clock.elapsed_ms - began_ms
    card.rt.engine_execute = lambda *_: 0  # type: ignore[method-assign]
    host_ms = median(repeats(decoder, cache, chunk, history)) / 1e6
    backend.close()
    return Cost(history, picture, counters, card_ms, host_ms)


def whole_chunk(recorded: Recorded, decoder: AxclDecoder, picture: bool) -> Chunk:
    size = recorded.prefill_len
    embeds, positions = decoder.embed(np.arange(size)), np.zeros((3, size), np.uint32)
    if not picture:
        return Chunk(embeds, positions, NO_ROWS, ())
    features = np.zeros((size, recorded.hidden_size), np.float32)
    return Chunk(embeds, positions, np.arange(size), (features,) * recorded.num_deepstack)


def repeats(decoder: AxclDecoder, cache: AxclKVCache, chunk: Chunk, history: int) -> Iterator[int]:
    """The nanoseconds of each."""
    for _ in range(NUM_REPEATS):
        cache.truncate(history)
        start = perf_counter_ns()
        decoder.prefill(cache, chunk)
        yield perf_counter_ns() - start


if __name__ == "__main__":
    main()
