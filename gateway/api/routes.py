"""The HTTP API: what is behind each path."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from backends.axcl.monitor import Monitor
from gateway.api.chat_completions import ChatCompletions
from gateway.api.door import Door, Guarded
from gateway.api.health import Health
from gateway.api.keys import ApiKey, KeyCheck
from gateway.api.metrics import Counted, Metrics
from gateway.api.middleware import RequestLog, answer_gateway_error, answer_http_exception
from gateway.api.models import Limits, Models, Offer
from gateway.api.responses.kept_responses import KeptResponses
from gateway.api.responses.responses import Responses
from gateway.api.responses.store import ResponseStore
from gateway.api.text_completions import TextCompletions
from gateway.api.tokens import Tokens
from gateway.engine.fleet import Fleet
from gateway.errors import GatewayError


def build_api(
    offers: Sequence[Offer],
    fleet: Fleet,
    limits: Limits,
    door: Door,
    keys: Sequence[ApiKey] = (),
    cors_origins: Sequence[str] = (),
    monitor: Monitor | None = None,
) -> Starlette:
    """The ASGI application for these models. Without keys anybody may come in; pages of `cors_origins` (`*`:
    of all) may ask from a browser; `monitor` is that of the card, where there is one."""
    models, health = Models(offers, fleet, limits), Health(fleet, monitor)
    tokens, metrics = Tokens(models, limits.max_body_bytes), Metrics(fleet, monitor)
    store = ResponseStore()
    kept = KeptResponses(store)
    browsers = Middleware(
        CORSMiddleware,
        allow_origins=cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "x-axgate-ignored", "retry-after", "x-should-retry"],
    )
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", ChatCompletions(models, limits.max_body_bytes), methods=["POST"]),
            Route("/v1/completions", TextCompletions(models, limits.max_body_bytes), methods=["POST"]),
            Route("/v1/responses", Responses(models, store, limits.max_body_bytes), methods=["POST"]),
            Route("/v1/responses/{id}", kept.one, methods=["GET", "DELETE"]),
            Route("/v1/responses/{id}/input_items", kept.items),
            Route("/v1/responses/{id}/cancel", kept.cancel, methods=["POST"]),
            Route("/v1/models", models.list),
            Route("/v1/models/{name:path}", models.one),
            Route("/v1/tokenize", tokens.tokenize, methods=["POST"]),
            Route("/v1/detokenize", tokens.detokenize, methods=["POST"]),
            Route("/health", health.live),
            Route("/ready", health.ready),
            Route("/metrics", metrics.show),
        ],
        middleware=[
            Middleware(Counted, counts=metrics.requests),
            Middleware(RequestLog),
            *([browsers] if cors_origins else []),
            Middleware(KeyCheck, keys=keys),
            Middleware(Guarded, door=door),
        ],
        exception_handlers={GatewayError: answer_gateway_error, HTTPException: answer_http_exception},
    )
    app.router.redirect_slashes = False
    return app
