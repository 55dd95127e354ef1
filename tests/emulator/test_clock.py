"""How long calls take on the recorded clock, and where the times come from."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import get_args

import numpy as np
import pytest

from backends.axcl.backend import AxclBackend, open_backend
from backends.axcl.decoder import NO_ROWS, AxclDecoder
from backends.axcl.layers import KvWrite
from backends.axcl.package import Package
from backends.base import Chunk
from backends.emulator import ClockKind, Emulator, Recorded, RecordedClock, clock, recorded_models
from backends.emulator.recorded import Link, read_rows
from bench.schedule import write_schedule
from gateway.settings import Settings
from tests.emulator.card import H2D, malloc, ready
from tests.packages import opened, vision_package

TOY = Recorded(
    name="toy",
    num_layers=3,
    hidden_size=64,
    kv_dim=32,
    vocab_size=100,
    index_rows=1,
    num_deepstack=0,
    kv_cache_len=15,
    prefill_len=4,
    decode_ms=2.0,
    prefill_ms={0: 10.0, 4: 20.0, 8: 30.0},
    head_ms=5.0,
    vision_ms=70.0,
    link=Link(round_trip_ms=0.5, up=1000.0, down=500.0),
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return write_schedule(TOY, tmp_path_factory.mktemp("schedule") / "toy")


class Timed:
    """A decoder on a card with a recorded clock."""

    def __init__(self, package: Package, kv_write: KvWrite, recorded: Recorded = TOY) -> None:
        self.clock = RecordedClock(recorded)
        self.decoder: AxclDecoder = AxclBackend(Emulator(clock=self.clock)).decoder(package, kv_write)
        self.cache = self.decoder.new_cache()

    def token_ms(self) -> float:
        began_ms = self.clock.elapsed_ms
        self.decoder.logits(self.decoder.decode(self.cache, 7, self.cache.length))
        return self.clock.elapsed_ms - began_ms

    def chunk_ms(self, num_tokens: int) -> float:
        began_ms = self.clock.elapsed_ms
        embeds, positions = self.decoder.embed(np.arange(num_tokens)), np.zeros((3, num_tokens), np.uint32)
        self.decoder.prefill(self.cache, Chunk(embeds, positions, NO_ROWS, ()))
        return self.clock.elapsed_ms - began_ms


@pytest.mark.parametrize("about", read_rows())
def test_every_row_has_a_value_a_unit_and_a_source(about: str) -> None:
    for row in read_rows()[about]:
        values = [row.value] if isinstance(row.value, int | float) else row.value.values()
        assert all(value > 0 for value in values), row
        assert row.unit in {"ms", "MB/s", "layers", "values", "tokens", "rows", "positions"}, row
        assert row.source.startswith(("github.com/", "huggingface.co/", "docs.m5stack.com/")), row


@pytest.mark.parametrize(
    ("name", "tokens_per_s", "first_token_ms", "num_chunks"),
    [
        ("smolvlm-256m", 80, 57, 1),
        ("internvl3-1b", 26.67, 142.32, 1),
        ("qwen3-vl-2b", 9.5, 934.6, 5),
        ("qwen3-vl-4b", 4.2, 2252, 5),
    ],
)
def test_the_parts_make_the_totals_that_were_published_for_a_board(
    name: str, tokens_per_s: float, first_token_ms: float, num_chunks: int
) -> None:
    recorded = Recorded.load(name)
    token_ms = recorded.num_layers * recorded.decode_ms + recorded.head_ms
    assert 1000 / token_ms == pytest.approx(tokens_per_s, rel=0.01)
    histories = sorted(recorded.prefill_ms)[:num_chunks]
    prompt_ms = recorded.num_layers * sum(recorded.prefill_ms[history] for history in histories)
    assert prompt_ms + recorded.head_ms == pytest.approx(first_token_ms, rel=0.001)


def test_every_recorded_model_is_a_clock_and_a_setting() -> None:
    assert get_args(ClockKind) == ("compute", *recorded_models())
    assert get_args(Settings.model_fields["emulated_clock"].annotation) == get_args(ClockKind)


def test_a_token_takes_the_sum_of_its_parts(package: Package) -> None:
    up, down = 128 + 128 + 2 * 16, 2 * 100  # embeds and position, each padded to 128 bytes, and mask; logits
    parts_ms = 6 * 0.5 + up / 1000 + 3 * 2.0 + 5.0 + down / 500
    assert Timed(package, KvWrite.DIRECT).token_ms() == pytest.approx(parts_ms)


@pytest.mark.parametrize(("kv_write", "copies", "more_bytes_up"), [("copy", 6, 0), ("vendor", 16, -52)])
def test_another_way_takes_longer_by_its_copies(
    package: Package, kv_write: str, copies: int, more_bytes_up: int
) -> None:
    """Two for each layer; and, of the vendor's way, three more for each and one for the head. There position
    and mask go up without padding: 128 + 3 * (4 + 32) bytes instead of 288."""
    longer_ms = Timed(package, KvWrite(kv_write)).token_ms() - Timed(package, KvWrite.DIRECT).token_ms()
    assert longer_ms == pytest.approx(copies * 0.5 + more_bytes_up / 1000)


def test_a_chunk_takes_what_its_group_takes_however_full_it_is(package: Package) -> None:
    timed = Timed(package, KvWrite.DIRECT)
    found = [timed.chunk_ms(num_tokens) for num_tokens in (2, 4, 2)]
    history, ups_ms = (0, 4, 8), [(512 + 128 + 2 * 4 * (rows + 4)) / 1000 for rows in (0, 4, 8)]
    assert found == pytest.approx(
        [4 * 0.5 + up_ms + 3 * TOY.prefill_ms[rows] for rows, up_ms in zip(history, ups_ms, strict=True)]
    )


def test_a_history_that_is_not_recorded_takes_what_the_next_larger_takes() -> None:
    assert [TOY.layer_ms(4, history) for history in (0, 1, 4, 5, 8, 9)] == [10, 20, 20, 30, 30, 30]


def test_a_model_of_fewer_layers_takes_the_time_of_all_recorded_ones(package: Package) -> None:
    six = Timed(package, KvWrite.DIRECT, replace(TOY, num_layers=6)).token_ms()
    assert six - Timed(package, KvWrite.DIRECT).token_ms() == pytest.approx(3 * (2.0 + 0.5))


def test_a_picture_takes_the_time_of_the_encoder() -> None:
    recorded = RecordedClock(TOY)
    vision = vision_package().vision
    assert vision is not None
    with opened(Emulator(clock=recorded)) as backend:
        graph = backend.graph(vision)
        began_ms = recorded.elapsed_ms
        graph.run({each.name: np.zeros(each.shape, each.dtype) for each in graph.inputs})
        up, down = (sum(each.nbytes for each in side) for side in (graph.inputs, graph.outputs))
        trips = len(graph.inputs) + 1 + len(graph.outputs)
        assert recorded.elapsed_ms - began_ms == pytest.approx(trips * 0.5 + up / 1000 + 70 + down / 500)


def test_the_same_calls_take_the_same_time(package: Package) -> None:
    def run() -> list[float]:
        timed = Timed(package, KvWrite.DIRECT)
        return [timed.clock.elapsed_ms, timed.chunk_ms(4), timed.token_ms(), timed.token_ms()]

    assert run() == run()


class Hours:
    """Time that passes when it is told to; every sleep is 1 ms too long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(clock, "perf_counter", lambda: self.now)
        monkeypatch.setattr(clock, "sleep", lambda seconds: self.work(seconds + 0.001))

    def work(self, seconds: float) -> None:
        self.now += seconds

    def steps(self, waiting: clock.WaitingClock, *work_s: float) -> Iterator[float]:
        """Round trips that this machine takes so long for; the milliseconds until each has its answer."""
        for seconds in work_s:
            began = self.now
            waiting.round_trip("memset", 0)
            self.work(seconds)
            waiting.answer()
            yield 1000 * (self.now - began)


def test_waiting_makes_up_for_having_slept_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(monkeypatch)
    waiting = clock.WaitingClock(replace(TOY, link=Link(5.0, 1000.0, 500.0)))
    assert list(hours.steps(waiting, 0, 0, 0.002, 0)) == pytest.approx([6, 5, 5, 5])


def test_a_call_that_this_machine_is_too_slow_for_is_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(monkeypatch)
    waiting = clock.WaitingClock(replace(TOY, link=Link(5.0, 1000.0, 500.0)))
    assert list(hours.steps(waiting, 0.030, 0, 0.030, 0)) == pytest.approx([30, 6, 30, 5])


def test_a_call_that_stays_on_the_host_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(monkeypatch)
    clock.WaitingClock(TOY).answer()
    assert hours.now == 100.0


def test_a_served_card_answers_no_sooner_than_the_recorded_one(package: Package) -> None:
    began = perf_counter()
    backend = open_backend("emulator", 0, 64 << 20, "smolvlm-256m")
    decoder = backend.decoder(package, KvWrite.DIRECT)
    cache = decoder.new_cache()
    for _ in range(10):
        decoder.logits(decoder.decode(cache, 7, cache.length))
    recorded = Recorded.load("smolvlm-256m")
    executes_ms = 30 * (recorded.decode_ms + recorded.link.round_trip_ms) + recorded.head_ms
    assert 10 * executes_ms <= 1000 * (perf_counter() - began)
    backend.close()


def test_the_compute_clock_knows_no_time(tmp_path: Path) -> None:
    card = ready()
    address, host = malloc(card, 64), np.zeros(64, np.uint8)
    assert card.rt.memcpy(address, host.ctypes.data, 64, H2D) == 0
    assert not vars(card._process.clock)
