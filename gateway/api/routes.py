"""The HTTP API: what is behind each path."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from hashlib import sha256
from time import time
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.api.answer import Answer
from gateway.api.connection import read_body, while_connected
from gateway.api.conversation import conversation
from gateway.api.feed import Feed
from gateway.api.middleware import RequestLog, answer_gateway_error, answer_http_exception
from gateway.api.protocol import CompletionRequest, ModelList, WireModel
from gateway.api.refusal import refusal
from gateway.chat.model import ChatModel
from gateway.chat.reply import Delta
from gateway.engine.client import EngineClient
from gateway.engine.prompt import Identity, SamplingParams
from gateway.engine.prompt import Request as Generation
from gateway.errors import GatewayError, InvalidRequest, ModelNotFound

PATIENCE_S = 20.0
"""How long a stream waits for its first delta before it begins without. Until then an error has a status of
its own, afterwards it can only be an event: longer than a picture takes, shorter than proxies wait."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may hold; published with the model."""

    max_body_bytes: int
    max_image_bytes: int
    max_image_pixels: int


def build_api(model: ChatModel, client: EngineClient, limits: Limits) -> Starlette:
    """The ASGI application for one model."""
    models = Models(model, limits)
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", Completions(model, client, limits), methods=["POST"]),
            Route("/v1/models", models.list),
            Route("/v1/models/{name:path}", models.one),
            Route("/health", Health(client).show),
        ],
        middleware=[Middleware(RequestLog)],
        exception_handlers={GatewayError: answer_gateway_error, HTTPException: answer_http_exception},
    )
    app.router.redirect_slashes = False
    return app


class Completions:
    """POST /v1/chat/completions. An ASGI application of its own, because the generation must end with it."""

    def __init__(self, model: ChatModel, client: EngineClient, limits: Limits) -> None:
        self._model = model
        self._client = client
        self._max_body_bytes = limits.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        wanted = _parse(await read_body(request, self._max_body_bytes))
        _check_model(wanted.model, self._model)
        facts = scope["facts"]
        facts |= {"model": self._model.name, "stream": wanted.stream}
        feed = Feed(self._deltas(wanted, _identity(request, wanted)))
        try:
            async with feed:
                response = await while_connected(receive, self._respond(wanted, feed))
                if wanted.ignored:
                    facts["ignored"] = response.headers["x-axgate-ignored"] = ", ".join(wanted.ignored)
                await response(scope, receive, send)
        finally:
            facts |= feed.facts

    async def _respond(self, wanted: CompletionRequest, feed: Feed) -> Response:
        answer = Answer(self._model.name)
        if not wanted.stream:
            return _json(await answer.completion(feed))
        await feed.begun(PATIENCE_S)
        include_usage = wanted.stream_options is not None and wanted.stream_options.include_usage
        return answer.stream(feed, include_usage)

    async def _deltas(self, wanted: CompletionRequest, identity: Identity) -> AsyncGenerator[Delta, None]:
        prompt = await self._model.build_prompt(conversation(wanted.messages))
        sampling = self._sampling(wanted, room=self._model.context_length - prompt.num_tokens)
        outputs = self._client.generate(Generation(uuid4().hex, prompt, sampling, identity))
        async with aclosing(self._model.read_reply(prompt, outputs, wanted.stop)) as deltas:
            async for delta in deltas:
                yield delta

    def _sampling(self, wanted: CompletionRequest, room: int) -> SamplingParams:
        """What is asked for; where nothing is, what the model's makers recommend."""
        defaults = self._model.defaults
        return SamplingParams(
            max_tokens=min(wanted.asked_tokens or room, room),
            temperature=defaults.temperature if wanted.temperature is None else wanted.temperature,
            top_k=defaults.top_k if wanted.top_k is None else max(wanted.top_k, 0),
            top_p=defaults.top_p if wanted.top_p is None else wanted.top_p,
            seed=None if wanted.seed is None else wanted.seed % 2**64,
            stop_token_ids=defaults.stop_token_ids,
        )


class Models:
    """GET /v1/models and /v1/models/{name}."""

    def __init__(self, model: ChatModel, limits: Limits) -> None:
        self._model = model
        self._shown = WireModel(
            id=model.name,
            created=int(time()),
            owned_by="axgate",
            context_length=model.context_length,
            tokens_per_image=model.num_tokens_per_image,
            limits={**asdict(limits), "max_images": model.max_images},
        )

    async def list(self, request: Request) -> Response:
        return _json(ModelList(data=[self._shown]))

    async def one(self, request: Request) -> Response:
        _check_model(request.path_params["name"], self._model)
        return _json(self._shown)


class Health:
    """GET /health: 200 as long as there is somebody to answer, with what the engine is doing."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client

    async def show(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "engine": asdict(self._client.status)})


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")


def _parse(body: bytes) -> CompletionRequest:
    try:
        return CompletionRequest.model_validate(_object(body))
    except ValidationError as error:
        raise refusal(error) from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = from_json(body)
    except ValueError as error:
        raise InvalidRequest(f"We could not parse the JSON body of your request: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("We could not parse the JSON body of your request: expected a JSON object.")
    return value


def _check_model(name: str, model: ChatModel) -> None:
    if name.strip() != model.name:
        raise ModelNotFound(f"The model '{name}' does not exist. This server has '{model.name}'.")


def _identity(request: Request, wanted: CompletionRequest) -> Identity:
    """Users with different API keys share nothing, not even by chance."""
    _scheme, _, key = request.headers.get("authorization", "").partition(" ")
    headers = request.headers
    return Identity(
        owner=sha256(key.encode()).hexdigest() if key else "",
        name=headers.get("x-session-id") or headers.get("x-openwebui-chat-id") or wanted.prompt_cache_key,
        ephemeral="x-openwebui-task" in headers,
    )
