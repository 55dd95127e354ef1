"""GET /metrics: what is counted, what is looked up, and that nothing unknown is told as a number."""

import asyncio
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import httpx
import prometheus_client
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families as read_text
from starlette.applications import Starlette

from backends.axcl.monitor import PERIOD_S, Monitor, Vitals
from gateway import __version__
from gateway.api.keys import ApiKey
from gateway.engine.client import EngineStatus
from gateway.engine.engine import EngineStats
from gateway.engine.session import StoreStats
from gateway.errors import EngineFailure
from tests.api.service import MODEL, Connection, ScriptedEngine, ask, body, call, service

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
STATS = EngineStats(2, 1, StoreStats(3, 4, 5_000_000, 6), 7)
BUSY = EngineStatus("ready", 3, 8, {}, STATS, 9_000_000)
WARM = Vitals(
    temperature_c=41.5, cmm_bytes=7040 << 20, cmm_free_bytes=7000 << 20, cpu_load=0.01, npu_load=0.5
)

Labels = tuple[tuple[str, str], ...]


def families(app: Starlette, **request: object) -> Mapping[str, Metric]:
    response = call(app, "/metrics", "GET", **request)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {family.name: family for family in read_text(response.text)}


def values(app: Starlette, **request: object) -> dict[str, dict[Labels, float]]:
    """By the name of the sample and its labels, without buckets."""
    found: dict[str, dict[Labels, float]] = {}
    for family in families(app, **request).values():
        for sample in family.samples:
            if not sample.name.endswith("_bucket"):
                found.setdefault(sample.name, {})[tuple(sample.labels.items())] = sample.value
    return found


def of(**labels: str) -> Labels:
    return tuple(sorted(labels.items()))


class InStatus(ScriptedEngine):
    def __init__(self, status: EngineStatus) -> None:
        super().__init__()
        self.status = status


# --- requests


def test_requests_count_by_what_was_asked_for_and_how_it_ended() -> None:
    app = service()
    ask(app)
    ask(app, stream=True)
    ask(app, model="another")
    ask(app, max_tokens=-1)
    call(app, f"/v1/models/{MODEL}", "GET")
    call(app, "/v1/models/nope", "GET")
    call(app, "/health", "GET")
    post, one = "/v1/chat/completions", "/v1/models/{name}"
    assert values(app)["axgate_http_requests_total"] == {
        of(method="POST", path=post, status="200", model=MODEL): 2,
        of(method="POST", path=post, status="404", model=""): 1,
        of(method="POST", path=post, status="400", model=""): 1,
        of(method="GET", path=one, status="200", model=""): 1,
        of(method="GET", path=one, status="404", model=""): 1,
        of(method="GET", path="/health", status="200", model=""): 1,
    }
    again = values(app)["axgate_http_requests_total"]
    assert again[of(method="GET", path="/metrics", status="200", model="")] == 1


def test_a_client_cannot_make_series() -> None:
    app = service()
    for n in range(20):
        call(app, f"/nothing/{n}", "GET")
        call(app, "/v1/models", f"METHOD{n}")
        call(app, f"/v1/models/name-{n}", "GET")
        ask(app, model=f"model-{n}")
    assert values(app)["axgate_http_requests_total"] == {
        of(method="GET", path="other", status="404", model=""): 20,
        of(method="other", path="/v1/models", status="405", model=""): 20,
        of(method="GET", path="/v1/models/{name}", status="404", model=""): 20,
        of(method="POST", path="/v1/chat/completions", status="404", model=""): 20,
    }


def test_tokens_and_times_are_those_of_the_answers() -> None:
    app = service(ScriptedEngine("A red pixel.", num_cached=5), cold=["cold"])
    usage = [ask(app).json()["usage"] for _ in range(2)]
    found = values(app)
    mine, cold = of(model=MODEL), of(model="cold")
    assert found["axgate_prompt_tokens_total"] == {
        mine: sum(each["prompt_tokens"] for each in usage),
        cold: 0,
    }
    assert found["axgate_completion_tokens_total"][mine] == sum(each["completion_tokens"] for each in usage)
    assert found["axgate_cached_prompt_tokens_total"] == {mine: 10, cold: 0}
    assert found["axgate_generations_total"] == {of(model=MODEL, finish="stop"): 2}
    for name in ("axgate_time_to_first_token_seconds", "axgate_time_per_output_token_seconds"):
        assert found[f"{name}_count"] == {mine: 2, cold: 0}
        assert 0 < found[f"{name}_sum"][mine] < 10


def test_times_are_in_seconds_and_in_their_buckets() -> None:
    async def run() -> Starlette:
        gate = asyncio.Event()
        app = service(ScriptedEngine("A red pixel.", gate=gate))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            asking = asyncio.create_task(client.post("/v1/chat/completions", json=body()))
            await asyncio.sleep(0.35)
            gate.set()
            await asking
        return app

    app = asyncio.run(run())
    name = "axgate_time_to_first_token_seconds"
    buckets = {
        sample.labels["le"]: sample.value
        for sample in families(app)[name].samples
        if sample.name == f"{name}_bucket"
    }
    assert (buckets["0.3"], buckets["5.0"], buckets["+Inf"]) == (0, 1, 1)
    assert 0.3 < values(app)[f"{name}_sum"][of(model=MODEL)] < 5


def test_a_generation_that_fails_is_counted_as_such() -> None:
    app = service(ScriptedEngine("", error=EngineFailure("The card is gone.")))
    assert ask(app).status_code == 500
    found = values(app)
    assert found["axgate_generations_total"] == {of(model=MODEL, finish="error"): 1}
    assert found["axgate_completion_tokens_total"] == {of(model=MODEL): 0}
    assert found["axgate_time_to_first_token_seconds_count"] == {of(model=MODEL): 0}


def test_a_client_that_leaves_is_counted_with_its_status() -> None:
    async def run(app: Starlette) -> None:
        connection = Connection(app, body())
        running = asyncio.create_task(connection.run())
        await asyncio.sleep(0.1)
        connection.leave()
        await running

    app = service(ScriptedEngine(gate=asyncio.Event()))
    asyncio.run(asyncio.wait_for(run(app), 10))
    found = values(app)
    gone = of(method="POST", path="/v1/chat/completions", status="499", model=MODEL)
    assert found["axgate_http_requests_total"] == {gone: 1}
    assert found["axgate_generations_total"] == {of(model=MODEL, finish="cancelled"): 1}


# --- what is looked up


def test_engines_show_what_they_do() -> None:
    found = values(service(InStatus(BUSY)))
    told = {
        "axgate_requests_in_flight": 3,
        "axgate_generations_running": 2,
        "axgate_generations_waiting": 1,
        "axgate_image_encodes_total": 7,
        "axgate_sessions_resident": 3,
        "axgate_sessions_saved": 4,
        "axgate_sessions_saved_bytes": 5_000_000,
        "axgate_session_evictions_total": 6,
        "axgate_worker_restarts_total": 8,
        "axgate_device_memory_reserved_bytes": 9_000_000,
    }
    assert {name: found[name] for name in told} == {
        name: {of(model=MODEL): value} for name, value in told.items()
    }
    assert found["axgate_info"] == {of(version=__version__): 1}


def test_an_engine_is_in_one_state() -> None:
    states = values(service(InStatus(BUSY), cold=["cold"]))["axgate_engine_state"]
    assert len(states) == 12
    assert {labels for labels, value in states.items() if value} == {
        of(axgate_engine_state="ready", model=MODEL),
        of(axgate_engine_state="unloaded", model="cold"),
    }


def test_what_is_not_known_of_an_engine_is_absent() -> None:
    found = values(service(InStatus(EngineStatus("restarting", 2, 1, {}, None))))
    assert {name for name in found if "_total" not in name and "_seconds" not in name} == {
        "axgate_info",
        "axgate_engine_state",
        "axgate_requests_in_flight",
    }
    assert "axgate_image_encodes_total" not in found
    assert found["axgate_worker_restarts_total"] == {of(model=MODEL): 1}


def card_of(found: Mapping[str, object]) -> set[str]:
    return {name for name in found if name.startswith("axgate_card_")}


def told_twice(monitor: Monitor, status: EngineStatus = ScriptedEngine.status) -> list[str]:
    """What /metrics says before the card could answer, and after."""

    async def run() -> list[str]:
        transport = httpx.ASGITransport(service(InStatus(status), monitor=monitor))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            first = (await client.get("/metrics")).text
            await monitor.close()
            return [first, (await client.get("/metrics")).text]

    return asyncio.run(run())


def test_the_card_shows_what_it_said_the_last_time() -> None:
    first, second = (
        {family.name: family.samples[0].value for family in read_text(text)}
        for text in told_twice(Monitor(lambda: WARM))
    )
    assert card_of(first) == set()
    assert 0 <= second.pop("axgate_card_age_seconds") < PERIOD_S
    assert {name: second[name] for name in card_of(second)} == {
        "axgate_card_temperature_celsius": 41.5,
        "axgate_card_cmm_bytes": 7040 << 20,
        "axgate_card_cmm_used_bytes": 40 << 20,
        "axgate_card_npu_load_ratio": 0.5,
        "axgate_card_cpu_load_ratio": 0.01,
    }


def test_what_the_card_does_not_say_is_absent() -> None:
    told = told_twice(Monitor(lambda: Vitals(temperature_c=41.5)))[1]
    assert card_of({family.name: None for family in read_text(told)}) == {
        "axgate_card_temperature_celsius",
        "axgate_card_age_seconds",
    }
    assert card_of(values(service())) == set()


def test_a_busy_card_is_not_asked() -> None:
    monitor = Monitor(lambda: WARM)
    assert [
        card_of({family.name: 0 for family in read_text(text)}) for text in told_twice(monitor, BUSY)
    ] == [
        set(),
        set(),
    ]


# --- the page


def test_it_is_for_those_with_a_key() -> None:
    app = service(keys=[ApiKey("prometheus", sha256(b"sk-1").digest())])
    assert call(app, "/metrics", "GET").status_code == 401
    found = values(app, headers={"Authorization": "Bearer sk-1"})
    assert found["axgate_http_requests_total"] == {
        of(method="GET", path="/metrics", status="401", model=""): 1
    }


def test_openmetrics_is_told_to_who_asks_for_it() -> None:
    app = service(InStatus(BUSY))
    ask(app)
    response = call(app, "/metrics", "GET", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert response.text.endswith("\n# EOF\n")
    names = set(re.findall(r"^# TYPE (\w+) ", response.text, re.MULTILINE))
    assert names - {"axgate"} | {"axgate_info"} == set(families(app))


def test_two_gateways_in_one_process_share_nothing() -> None:
    first, second = service(), service()
    ask(first)
    assert "axgate_http_requests_total" not in values(second)
    assert "axgate" not in prometheus_client.generate_latest().decode()


def rows() -> list[tuple[str, ...]]:
    table = PAGE.partition("| metric |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.+) \|$", table, re.MULTILINE)


@pytest.fixture(scope="module")
def everything() -> list[Metric]:
    """With every series that there is."""

    async def run() -> str:
        monitor = Monitor(lambda: WARM)
        app = service(InStatus(BUSY), monitor=monitor)
        monitor.vitals(idle=True)
        await monitor.close()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.post("/v1/chat/completions", json=body())
            return (await client.get("/metrics")).text

    return list(read_text(asyncio.run(run())))


def test_the_page_lists_every_metric_with_its_labels(everything: list[Metric]) -> None:
    found = []
    for family in everything:
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        suffix = "_total" if family.type == "counter" else ""
        shown = ", ".join(f"`{label}`" for label in sorted(labels))
        found.append((family.name + suffix, family.type, shown, family.documentation))
    assert rows() == found


def test_names_follow_the_rules_of_prometheus(everything: list[Metric]) -> None:
    """A prefix, base units, and `_total` for counters alone (prometheus.io/docs/practices/naming)."""
    for family in everything:
        assert family.name.startswith("axgate_"), family.name
        assert family.documentation, family.name
        assert not family.name.endswith(("_ms", "_mb", "_percent", "_total")), family.name
        if family.type == "counter":
            assert all(sample.name == f"{family.name}_total" for sample in family.samples)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
