"""The HTTP API: what is behind each path."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from uuid import uuid4

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from backends.axcl.monitor import Monitor
from gateway.api.answer import Answer, json_response
from gateway.api.body import read_request
from gateway.api.connection import while_connected
from gateway.api.conversation import messages
from gateway.api.door import Door, Guarded
from gateway.api.feed import Feed
from gateway.api.keys import ApiKey, KeyCheck
from gateway.api.middleware import RequestLog, answer_gateway_error, answer_http_exception
from gateway.api.models import Limits, Models, Offer
from gateway.api.protocol import MAX_NAME, CompletionRequest
from gateway.api.tokens import Tokens
from gateway.chat.conversation import Conversation
from gateway.chat.generation import GenerationDefaults
from gateway.chat.reply import Delta
from gateway.engine.fleet import Fleet
from gateway.engine.prompt import Identity, SamplingParams
from gateway.engine.prompt import Request as Generation
from gateway.errors import EngineRestarting, GatewayError, InvalidRequest

PATIENCE_S = 20.0
"""How long a stream waits for its first delta before it begins without. Until then an error has a status of
its own, afterwards it can only be an event: longer than a picture takes, shorter than proxies wait."""


NAMING = ("x-session-id", "x-openwebui-chat-id")
"""Headers that name the conversation, the first one first."""

HURT = ("restarting", "broken")
"""States of an engine whose worker died and has no successor yet."""

READY_RETRY_S = 2.0
"""When to ask again whether the engine is back: it takes about that long to start."""


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
    tokens = Tokens(models, limits.max_body_bytes)
    browsers = Middleware(
        CORSMiddleware,
        allow_origins=cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["x-request-id", "x-axgate-ignored", "retry-after"],
    )
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", Completions(models, limits), methods=["POST"]),
            Route("/v1/models", models.list),
            Route("/v1/models/{name:path}", models.one),
            Route("/v1/tokenize", tokens.tokenize, methods=["POST"]),
            Route("/v1/detokenize", tokens.detokenize, methods=["POST"]),
            Route("/health", health.live),
            Route("/ready", health.ready),
        ],
        middleware=[
            Middleware(RequestLog),
            *([browsers] if cors_origins else []),
            Middleware(KeyCheck, keys=keys),
            Middleware(Guarded, door=door),
        ],
        exception_handlers={GatewayError: answer_gateway_error, HTTPException: answer_http_exception},
    )
    app.router.redirect_slashes = False
    return app


class Completions:
    """POST /v1/chat/completions. An ASGI application of its own, because the generation must end with it."""

    def __init__(self, models: Models, limits: Limits) -> None:
        self._models = models
        self._max_body_bytes = limits.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        wanted = await read_request(request, CompletionRequest, self._max_body_bytes)
        offer = self._models.find(wanted.model)
        facts = scope["facts"]
        facts |= {"model": offer.name, "stream": wanted.stream}
        feed = Feed(_deltas(offer, wanted, _identity(request, wanted)))
        try:
            async with feed:
                response = await while_connected(receive, _respond(offer, wanted, feed))
                if ignored := _ignored(offer, wanted):
                    facts["ignored"] = response.headers["x-axgate-ignored"] = ", ".join(ignored)
                await response(scope, receive, send)
        finally:
            facts |= feed.facts


async def _respond(offer: Offer, wanted: CompletionRequest, feed: Feed) -> Response:
    answer = Answer(offer.name, wanted.logprobs)
    if not wanted.stream:
        return json_response(await answer.completion(feed))
    await feed.begun(PATIENCE_S)
    include_usage = wanted.stream_options is not None and wanted.stream_options.include_usage
    return answer.stream(feed, include_usage)


async def _deltas(offer: Offer, wanted: CompletionRequest, identity: Identity) -> AsyncGenerator[Delta, None]:
    model = await offer.chat()
    turn = await model.prepare(Conversation(messages(wanted.messages)))
    sampling = _sampling(wanted, model.defaults, room=model.context_length - turn.prompt.num_tokens)
    async with offer.engine() as client:
        outputs = client.generate(Generation(uuid4().hex, turn.prompt, sampling, identity))
        async with aclosing(model.read_reply(turn, outputs, wanted.stop)) as deltas:
            async for delta in deltas:
                yield delta


def _ignored(offer: Offer, wanted: CompletionRequest) -> list[str]:
    """What is accepted and left out all the same: Open WebUI sends its tools with every chat."""
    tools = ["tools"] if wanted.tools and wanted.tool_choice != "none" else []
    # A stream may begin before its model was ever loaded, and then it cannot be told.
    shown = offer.known is None or offer.known.shows_tool_calls or not wanted.has_tool_calls
    return tools + ([] if shown else ["messages[].tool_calls"])


def _sampling(wanted: CompletionRequest, defaults: GenerationDefaults, room: int) -> SamplingParams:
    """What is asked for; where nothing is, what the model's makers recommend."""
    return SamplingParams(
        max_tokens=min(wanted.asked_tokens or room, room),
        temperature=defaults.temperature if wanted.temperature is None else wanted.temperature,
        top_k=defaults.top_k if wanted.top_k is None else max(wanted.top_k, 0),
        top_p=defaults.top_p if wanted.top_p is None else wanted.top_p,
        min_p=defaults.min_p if wanted.min_p is None else wanted.min_p,
        frequency_penalty=wanted.frequency_penalty,
        presence_penalty=wanted.presence_penalty,
        repetition_penalty=wanted.repetition_penalty or defaults.repetition_penalty,
        logit_bias=tuple(wanted.logit_bias.items()),
        num_top_logprobs=wanted.top_logprobs if wanted.logprobs else None,
        seed=None if wanted.seed is None else wanted.seed % 2**64,
        stop_token_ids=defaults.stop_token_ids,
    )


class Health:
    """GET /health: 200 as long as there is somebody to answer, with what the engines are doing, what is
    broken, and how the card is as far as it told.
    GET /ready: 200 while generations are taken, else 503."""

    def __init__(self, fleet: Fleet, monitor: Monitor | None) -> None:
        self._fleet = fleet
        self._monitor = monitor

    async def live(self, request: Request) -> Response:
        engines = {name: asdict(status) for name, status in self._fleet.status.items()}
        hurt = any(engine["state"] in HURT for engine in engines.values())
        told = {"status": "degraded" if hurt else "ok", "engines": engines}
        if self._monitor is None:
            return JSONResponse(told)
        idle = not any(engine["num_requests"] for engine in engines.values())
        vitals = asdict(self._monitor.vitals(idle=idle))
        return JSONResponse(told | {"card": vitals | {"age_s": self._monitor.age_s}})

    async def ready(self, request: Request) -> Response:
        """A model that is not loaded would be, so it counts, but not against one whose worker just died."""
        states = {name: status.state for name, status in self._fleet.status.items()}
        found = set(states.values())
        if not found & {"ready", "loading"} and found & {*HURT, "closed"}:
            told = ", ".join(f"{name} is {state}" for name, state in states.items())
            raise EngineRestarting(f"No model is ready: {told}.", retry_after_s=READY_RETRY_S)
        return JSONResponse({"status": "ready", "models": states})


def _identity(request: Request, wanted: CompletionRequest) -> Identity:
    headers = request.headers
    for header in NAMING:
        if len(headers.get(header, "")) > MAX_NAME:
            raise InvalidRequest(f"The header {header} is longer than {MAX_NAME} characters.", param=header)
    named = [headers[header] for header in NAMING if headers.get(header)]
    return Identity(
        owner=request.scope["owner"],
        name=named[0] if named else wanted.prompt_cache_key,
        ephemeral="x-openwebui-task" in headers,
    )
