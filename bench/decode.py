"""What a token costs: round trips, bytes, time of the host, and tokens a second against the card's limit.

    python -m bench.decode [--model qwen3-vl-2b]

Packages have the schedule of a recorded model and no weights (see schedule.py). Counts are exact on any
machine. For the host's time the emulated NPU is told to do nothing, so that what is left is the decode loop,
the copies and the sampler: the median of single tokens in this process. The card's time is that of the
recorded clock, and a token takes both, one after the other.

The card's limit is its executes one after the other, each with its round trip, and nothing else; the NPU's is
the same without PCIe.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns

from rich.console import Console
from rich.table import Table

from backends.axcl.backend import AxclBackend
from backends.axcl.decoder import AxclDecoder
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package
from backends.emulator import Counters, Emulator, Recorded, RecordedClock, recorded_models
from bench.schedule import write_schedule
from gateway.engine.prompt import SamplingParams
from gateway.engine.sampler import Sampler

MODELS = recorded_models()
NUM_TOKENS = 200
OTHER_TRIPS = 3  # the token up, the head, the logits down


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one token: what it moved, and what it took on the card and on the host."""

    counters: Counters
    card_ms: float
    host_ms: float

    @property
    def tokens_per_s(self) -> float:
        return 1000 / (self.card_ms + self.host_ms)


def main() -> None:
    parser = argparse.ArgumentParser(description="Round trips, bytes and time of one decoded token.")
    parser.add_argument("--model", choices=MODELS, action="append", help="of which schedule (default: all)")
    for name in parser.parse_args().model or MODELS:
        recorded = Recorded.load(name)
        with TemporaryDirectory() as folder:
            package = write_schedule(recorded, Path(folder) / name)
            costs = {kv_write: one_token(recorded, package, kv_write) for kv_write in KvWrite}
        Console(width=150).print(table(recorded, costs))


def table(recorded: Recorded, costs: dict[KvWrite, Cost]) -> Table:
    shown = Table(
        *("K/V rows", "round trips", "per layer", "bytes up", "bytes down", "bytes on card"),
        *("host µs", "card ms", "tokens/s", "of the card's limit", "of the NPU's"),
        title=f"{recorded.name}: {recorded.num_layers} layers, {NUM_TOKENS} tokens each",
    )
    for kv_write, cost in costs.items():
        speed = cost.tokens_per_s
        shown.add_row(
            kv_write.value,
            *told(cost.counters, recorded.num_layers),
            f"{1000 * cost.host_ms:.0f}",
            f"{cost.card_ms:.1f}",
            f"{speed:.2f}",
            f"{speed / card_limit(recorded):.3f}",
            f"{speed / npu_limit(recorded):.3f}",
        )
    return shown


def npu_limit(recorded: Recorded) -> float:
    """Tokens per second of the NPU alone."""
    return 1000 / (recorded.num_layers * recorded.decode_ms + recorded.head_ms)


def card_limit(recorded: Recorded) -> float:
    """Tokens per second where every execute is asked for over PCIe."""
    return 1000 / (1000 / npu_limit(recorded) + (recorded.num_layers + 1) * recorded.link.round_trip_ms)


def one_token(recorded: Recorded, package: Package, kv_write: KvWrite) -> Cost:
    clock = RecordedClock(recorded)
    card = Emulator(clock=clock)
    backend = AxclBackend(card)
    decoder = backend.decoder(package, kv_write)
    cache = decoder.new_cache()
    counted, began_ms = card.counters.copy(), clock.elapsed_ms
    decoder.logits(decoder.decode(cache, 7, 0))
    counters, card_ms = card.counters - counted, clock.elapsed_ms - began_ms
    cache.free()
    card.rt.engine_execute = lambda *_: 0  # type: ignore[method-assign]
    host_ms = median(tokens(decoder)) / 1e6
    backend.close()
    return Cost(counters, card_ms, host_ms)


def told(cost: Counters, num_layers: int) -> list[str]:
    trips = cost.round_trips.total()
    kinds = ("memcpy_h2d", "memcpy_d2h", "memcpy_d2d")
    moved = [f"{cost.num_bytes[kind]:,}" for kind in kinds]
    return [str(trips), f"{(trips - OTHER_TRIPS) // num_layers}", *moved]


def tokens(decoder: AxclDecoder) -> Iterator[int]:
    """Decode and sample NUM_TOKENS tokens; the nanoseconds of each."""
    cache, sampler, token_id = decoder.new_cache(), Sampler(SamplingParams(1, temperature=0)), 7
    for position in range(NUM_TOKENS):
        start = perf_counter_ns()
        token_id = sampler.sample(decoder.logits(decoder.decode(cache, token_id, position)))
        yield perf_counter_ns() - start
    cache.free()


if __name__ == "__main__":
    main()
