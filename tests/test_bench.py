"""The benchmarks run, and the decode loop reaches its goal on the recorded clock."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run

import pytest

from backends.axcl.layers import KvWrite
from backends.emulator import Recorded
from bench import api, decode, prefill
from bench.profile import Spent, shares, whose
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


def test_the_cost_of_requests_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--seconds", "0.2", "--repeat", "1"])
    monkeypatch.setenv("PROFILE", "")  # so that what it sets is gone afterwards
    api.main()
    shown = capsys.readouterr().out
    for load in api.loads():
        assert re.search(rf"{re.escape(load.name)} +│ {load.num_clients} +│ [0-9]+ .* [0-9]+% ", shown), shown
    assert re.search(r"axgate [0-9]+%", shown)


def test_time_is_told_by_package() -> None:
    root = Path(api.__file__).parents[1]
    lines = {
        f"{root}/gateway/api/body.py:read:3": "axgate",
        f"{root}/backends/axcl/rt.py:execute:3": "axgate",
        f"{root}/bench/profile.py:_look:3": "profile",
        "/x/lib/python3.11/site-packages/uvicorn/main.py:run:3": "uvicorn",
        "/x/lib/python3.11/asyncio/events.py:_run:3": "asyncio",
        "/x/lib/python3.11/selectors.py:select:3": "selectors",
        "<template>:root:3": "jinja2",
        "<string>:__init__:3": "axgate",
        "others": "others",
    }
    assert {line: whose(line) for line in lines} == lines
    assert shares(Spent(dict.fromkeys(lines, 10)), whose)["axgate"] == 3 / 8


BUSY = """
import os, signal, sys, time
from pathlib import Path
from bench.profile import Profile

def much():
    until = time.thread_time() + 0.03
    while time.thread_time() < until:
        pass

def little():
    until = time.thread_time() + 0.01
    while time.thread_time() < until:
        pass

Profile(Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGUSR1)
for _ in range(25):
    much()
    little()
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_profile_finds_what_takes_the_time(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    run([sys.executable, "-c", BUSY, str(path)], check=True, timeout=60)
    found = shares(Spent(json.loads(path.read_text())), lambda line: line.partition(":")[2].partition(":")[0])
    assert found["much"] == pytest.approx(0.75, abs=0.1)
    assert found["little"] == pytest.approx(0.25, abs=0.1)
