"""The benchmarks run, and the decode loop reaches its goal on the recorded clock."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.axcl.layers import KvWrite
from backends.emulator import Recorded
from bench import decode, prefill
from bench.schedule import write_schedule

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


@pytest.mark.parametrize("name", ["qwen3-vl-2b", "qwen3-vl-4b"])
def test_direct_decoding_reaches_97_percent_of_the_cards_limit(tmp_path: Path, name: str) -> None:
    recorded = Recorded.load(name)
    cost = decode.one_token(recorded, write_schedule(recorded, tmp_path / name), KvWrite.DIRECT)
    assert cost.counters.round_trips.total() == recorded.num_layers + decode.OTHER_TRIPS
    assert 1000 / cost.card_ms > 0.97 * decode.card_limit(recorded)
    up, down = (f"{cost.counters.num_bytes[kind]:,}" for kind in ("memcpy_h2d", "memcpy_d2h"))
    row = (name, "direct", recorded.num_layers + 3, 1, up, down, 0, "[0-9]+", f"{cost.card_ms:.1f}", "")
    assert re.search(r" \| ".join(map(str, row)), PAGE.read_text("utf-8"))


def test_a_chunk_of_text_costs_one_upload_and_its_executes(tmp_path: Path) -> None:
    recorded = Recorded.load("internvl3-1b")
    package = write_schedule(recorded, tmp_path / "package")
    costs = list(prefill.chunks(recorded, package, KvWrite.DIRECT))
    assert [(cost.history, cost.picture) for cost in costs] == [(128 * n, False) for n in range(9)]
    for cost in costs:
        assert cost.counters.round_trips == {"memcpy_h2d": 1, "engine_execute": 24}
        assert prefill.limit_ms(recorded, cost.history) / cost.card_ms > 0.97


@pytest.mark.parametrize(
    ("main", "told"),
    [(decode.main, "smolvlm-256m: 30 layers"), (prefill.main, "smolvlm-256m: chunks of 320")],
)
def test_a_bench_prints_its_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], main: Callable[[], None], told: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--model", "smolvlm-256m"])
    main()
    shown = capsys.readouterr().out
    assert told in shown
    assert "direct" in shown
