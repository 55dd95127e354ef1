"""What a token costs on the host: round trips, bytes, and microseconds beside the card's own time.

    python -m bench.decode [--layers 28] [--vocab 151936]

Counts are exact on any machine. For the times the emulated NPU is told to do nothing, so that what is left is
the decode loop, the copies and the sampler; they are medians of single tokens in this process.
"""

import argparse
from collections.abc import Iterator
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
from backends.emulator import Counters, Emulator
from backends.export import ExportOptions
from gateway.engine.prompt import SamplingParams
from gateway.engine.sampler import Sampler
from tests.export.checkpoints import tiny_qwen3_vl
from tests.packages import exported

NUM_TOKENS = 200
OTHER_TRIPS = 3  # the token up, the head, the logits down


def main() -> None:
    parser = argparse.ArgumentParser(description="Round trips, bytes and host time of one decoded token.")
    parser.add_argument("--layers", type=int, default=28, help="decoder layers (default: %(default)s)")
    parser.add_argument("--vocab", type=int, default=151936, help="logits per token (default: %(default)s)")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        checkpoint = tiny_qwen3_vl(
            Path(folder) / "checkpoint", layers=options.layers, vocab_size=options.vocab
        )
        shown = table(exported(checkpoint, ExportOptions()), options.layers)
    shown.title = f"{options.layers} layers, {options.vocab} logits, {NUM_TOKENS} tokens each"
    Console().print(shown)


def table(package: Package, num_layers: int) -> Table:
    shown = Table(
        "K/V rows", "round trips", "per layer", "bytes up", "bytes down", "bytes on card", "host µs"
    )
    for kv_write in KvWrite:
        card = Emulator()
        backend = AxclBackend(card)
        decoder = backend.decoder(package, kv_write)
        cost = one_token(decoder, card)
        card.rt.engine_execute = lambda *_: 0  # type: ignore[method-assign]
        host_us = median(tokens(decoder)) / 1000
        shown.add_row(kv_write.value, *told(cost, num_layers), f"{host_us:.0f}")
        backend.close()
    return shown


def one_token(decoder: AxclDecoder, card: Emulator) -> Counters:
    cache = decoder.new_cache()
    before = card.counters.copy()
    decoder.logits(decoder.decode(cache, 7, 0))
    cost = card.counters - before
    cache.free()
    return cost


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
