"""GET /metrics: what a monitoring system is told, in the text formats of Prometheus.

What a request did is counted when it ends; everything else is looked up when somebody asks. What is not known
is left out: a series that is absent says nothing, while 0 would say something.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from backends.axcl.monitor import Monitor, Vitals
from gateway import __version__
from gateway.engine.client import EngineStatus
from gateway.engine.engine import EngineStats
from gateway.engine.fleet import Fleet
from gateway.engine.health import STATES

METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
OTHER = "other"
"""For methods and paths that nobody serves: a client could name any number of them."""

FIRST_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10, 20, 30, 60, 120)
TOKEN_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2)
SLOWEST_TOKENS_PER_S = 0.05
"""What the log's one decimal rounds to 0 is slower."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A number that each engine shows; None where it is unknown."""

    family: type[CounterMetricFamily] | type[GaugeMetricFamily]
    name: str
    about: str
    value: Callable[[EngineStatus], float | None]


def _stat(value: Callable[[EngineStats], float]) -> Callable[[EngineStatus], float | None]:
    return lambda status: None if status.stats is None else value(status.stats)


ENGINES = (
    Seen(
        GaugeMetricFamily,
        "axgate_requests_in_flight",
        "generations in flight, those that wait for their model included",
        lambda status: status.num_requests,
    ),
    Seen(
        GaugeMetricFamily,
        "axgate_generations_running",
        "generations that have a session",
        _stat(lambda stats: stats.num_running),
    ),
    Seen(
        GaugeMetricFamily,
        "axgate_generations_waiting",
        "generations that wait for a session",
        _stat(lambda stats: stats.num_waiting),
    ),
    Seen(
        CounterMetricFamily,
        "axgate_image_encodes",
        "runs of the vision graph, of the worker there is",
        _stat(lambda stats: stats.num_encodes),
    ),
    Seen(
        GaugeMetricFamily,
        "axgate_sessions_resident",
        "conversations whose KV cache is on the device",
        _stat(lambda stats: stats.sessions.num_resident),
    ),
    Seen(
        GaugeMetricFamily,
        "axgate_sessions_saved",
        "conversations whose KV cache was moved to host memory",
        _stat(lambda stats: stats.sessions.num_saved),
    ),
    Seen(
        GaugeMetricFamily,
        "axgate_sessions_saved_bytes",
        "host memory that these take",
        _stat(lambda stats: stats.sessions.saved_bytes),
    ),
    Seen(
        CounterMetricFamily,
        "axgate_session_evictions",
        "KV caches moved off the device, by the worker there is",
        _stat(lambda stats: stats.sessions.num_evictions),
    ),
    Seen(
        CounterMetricFamily,
        "axgate_worker_restarts",
        "workers started again after one that died",
        lambda status: status.num_restarts,
    ),
    Seen(
        GaugeMetricFamily,
        "axgate_device_memory_reserved_bytes",
        "device memory of a loaded model with all of its sessions",
        lambda status: status.reserved_bytes,
    ),
)


def _used(vitals: Vitals) -> float | None:
    if vitals.cmm_bytes is None or vitals.cmm_free_bytes is None:
        return None
    return vitals.cmm_bytes - vitals.cmm_free_bytes


CARD: tuple[tuple[str, str, Callable[[Vitals], float | None]], ...] = (
    ("axgate_card_temperature_celsius", "temperature of the card", lambda vitals: vitals.temperature_c),
    ("axgate_card_cmm_bytes", "memory of the card for models (CMM)", lambda vitals: vitals.cmm_bytes),
    ("axgate_card_cmm_used_bytes", "the part of it that is taken, by whomever", _used),
    ("axgate_card_npu_load_ratio", "load of the NPU, 0 to 1", lambda vitals: vitals.npu_load),
    ("axgate_card_cpu_load_ratio", "load of the card's own CPU, 0 to 1", lambda vitals: vitals.cpu_load),
)


class RequestCounts:
    """What came of the requests so far. `models` are those that requests can be for."""

    def __init__(self, models: Mapping[str, object]) -> None:
        self._requests = _counter(
            "axgate_http_requests", "requests that ended", "method", "path", "status", "model"
        )
        self._ended = _counter("axgate_generations", "generations that ended", "model", "finish")
        self._tokens = {
            "prompt_tokens": _counter("axgate_prompt_tokens", "tokens of prompts", "model"),
            "cached_tokens": _counter(
                "axgate_cached_prompt_tokens", "of these, found in a KV cache", "model"
            ),
            "completion_tokens": _counter("axgate_completion_tokens", "tokens of answers", "model"),
        }
        self._first = _histogram(
            "axgate_time_to_first_token_seconds", "from a request's body to the first text", FIRST_S
        )
        self._token = _histogram(
            "axgate_time_per_output_token_seconds", "the mean of an answer, after its first token", TOKEN_S
        )
        for model in models:
            for each in (*self._tokens.values(), self._first, self._token):
                each.labels(model)

    def count(self, scope: Scope) -> None:
        """A request that ended, from what the log tells of it."""
        facts, model = scope["facts"], scope["facts"].get("model", "")
        method, path = _endpoint(scope)
        self._requests.labels(method, path, str(facts["status"]), model).inc()
        if "finish" in facts:
            self._ended.labels(model, facts["finish"]).inc()
        for name, counter in self._tokens.items():
            if name in facts:
                counter.labels(model).inc(facts[name])
        if "first_ms" in facts:
            self._first.labels(model).observe(facts["first_ms"] / 1000)
        if "tokens_per_s" in facts:
            self._token.labels(model).observe(1 / max(facts["tokens_per_s"], SLOWEST_TOKENS_PER_S))

    def collect(self) -> Iterator[Metric]:
        for each in (self._requests, self._ended, *self._tokens.values(), self._first, self._token):
            for metric in each.collect():
                # When each series began is of use to nobody who keeps them.
                metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
                yield metric


class Metrics(Collector):
    """GET /metrics, from a registry of its own. `monitor` is that of the card, where there is one."""

    def __init__(self, fleet: Fleet, monitor: Monitor | None) -> None:
        self._fleet = fleet
        self._monitor = monitor
        self.requests = RequestCounts(fleet.status)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    async def show(self, request: Request) -> Response:
        """In the event loop, where the monitor lives."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._registry), media_type=content_type)

    def collect(self) -> Iterator[Metric]:
        """Families without a sample are left out."""
        yield InfoMetricFamily("axgate", "the version of the server", {"version": __version__})
        yield from (metric for metric in self._all() if metric.samples)

    def _all(self) -> Iterator[Metric]:
        status = self._fleet.status
        yield from self.requests.collect()
        yield _states(status)
        for seen in ENGINES:
            family = seen.family(seen.name, seen.about, labels=["model"])
            for model, each in status.items():
                if (value := seen.value(each)) is not None:
                    family.add_metric([model], value)
            yield family
        if self._monitor:
            yield from self._card(self._monitor, idle=not any(each.num_requests for each in status.values()))

    def _card(self, monitor: Monitor, *, idle: bool) -> Iterator[Metric]:
        vitals = monitor.vitals(idle=idle)
        for name, about, value in CARD:
            yield GaugeMetricFamily(name, about, value(vitals))
        about = "how long ago the card was asked for its state"
        yield GaugeMetricFamily("axgate_card_age_seconds", about, monitor.age_s)


class Counted:
    """Stands around RequestLog, and counts each request with what that one tells of it."""

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            if scope["type"] == "http":
                self._counts.count(scope)


def _states(status: Mapping[str, EngineStatus]) -> Metric:
    family = StateSetMetricFamily(
        "axgate_engine_state", "1 for the state that the engine is in", labels=["model"]
    )
    for model, each in status.items():
        family.add_metric([model], {state: state == each.state for state in STATES})
    return family


def _endpoint(scope: Scope) -> tuple[str, str]:
    """Method and path as they are served, whatever the client wrote."""
    routes: list[BaseRoute] = scope["app"].routes
    found = (route for route in routes if isinstance(route, Route) and route.matches(scope)[0] != Match.NONE)
    route = next(found, None)
    method = scope["method"] if scope["method"] in METHODS else OTHER
    return method, OTHER if route is None else route.path_format


def _counter(name: str, about: str, *labels: str) -> Counter:
    return Counter(name, about, labels, registry=None)


def _histogram(name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, about, ["model"], buckets=buckets, registry=None)
