"""The API with a real chat model on a scripted engine: what takes the device's place in these tests."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import Any, cast

import httpx
from PIL import Image
from starlette.applications import Starlette

from backends.axcl.monitor import Monitor
from gateway.api.door import Door
from gateway.api.keys import ApiKey
from gateway.api.models import Limits, Offer
from gateway.api.routes import build_api
from gateway.chat.content import Message, TextPart
from gateway.chat.conversation import Conversation
from gateway.chat.generation import GenerationDefaults
from gateway.chat.media import MediaFetcher, MediaLimits
from gateway.chat.model import ChatModel
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.demo import CHECKPOINT
from gateway.engine.client import EngineStatus
from gateway.engine.fleet import Fleet
from gateway.engine.prompt import FinishReason, Logprobs, Output, Request
from tests.vision.entries import encoder

MODEL = "demo"
CONTEXT, IMAGE_REACH = 256, 200
LIMITS = Limits(
    max_body_bytes=100_000, max_image_bytes=50_000, max_image_pixels=1_000_000, max_video_bytes=60_000
)


def _png(colour: tuple[int, int, int]) -> str:
    file = BytesIO()
    Image.new("RGB", (1, 1), colour).save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


RED_PIXEL, BLUE_PIXEL = _png((220, 40, 40)), _png((20, 20, 220))
PATH = "/v1/chat/completions"


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.load(CHECKPOINT)


@cache
def model(template: str = "") -> ChatModel:
    own = ChatTemplate.load(CHECKPOINT, tokenizer().special_tokens)
    return ChatModel(
        name=MODEL,
        tokenizer=tokenizer(),
        template=ChatTemplate(template, {}) if template else own,
        encoder=encoder("axgate-demo-96"),
        media=MediaFetcher(MediaLimits(LIMITS.max_image_bytes, LIMITS.max_video_bytes, timeout_s=5)),
        max_pixels=LIMITS.max_image_pixels,
        context_length=CONTEXT,
        image_reach=IMAGE_REACH,
        defaults=GenerationDefaults(frozenset({0}), 0.7, 20, 0.8, 0.05, 1.1),
    )


def num_prompt_tokens(words: str = "Hi") -> int:
    return asyncio.run(
        model().prepare(Conversation((Message("user", (TextPart(words),)),)))
    ).prompt.num_tokens


class ScriptedEngine:
    """Says `text` token by token, however many are asked for at most; then `error` if there is one.

    With `gate`, it waits for it before each token from `gate_at` on. `requests` and `num_closed` tell what
    was asked and how many generations were given up or ended.
    """

    status = EngineStatus("ready", 0, 0, {}, None)

    def __init__(
        self,
        text: str = "A red pixel.",
        error: Exception | None = None,
        gate: asyncio.Event | None = None,
        gate_at: int = 0,
        num_cached: int = 0,
        logprob: float = 0.0,
    ) -> None:
        self._logprob = logprob
        self._ids = tokenizer().encode(text)
        self._error = error
        self._gate = gate
        self._gate_at = gate_at
        self._num_cached = num_cached
        self.requests: list[Request] = []
        self.num_closed = 0

    async def generate(self, request: Request) -> AsyncGenerator[Output, None]:
        self.requests.append(request)
        try:
            limit = request.sampling.max_tokens
            for place, token_id in enumerate(self._ids[:limit]):
                if self._gate and place >= self._gate_at:
                    await self._gate.wait()
                cut = place + 1 == limit
                logprobs = self._logprobs(token_id, request.sampling.num_top_logprobs)
                finish: FinishReason | None = "length" if cut else None
                yield Output(request.id, token_id, finish, place + 1, self._num_cached, logprobs)
            if self._error:
                raise self._error
            if len(self._ids) < limit:
                yield Output(request.id, None, "stop", len(self._ids) + 1, self._num_cached)
        finally:
            self.num_closed += 1

    def _logprobs(self, token_id: int, num_top: int | None) -> Logprobs | None:
        """The next ids as if they had been less likely."""
        if num_top is None:
            return None
        return Logprobs(
            self._logprob, tuple((token_id + n, self._logprob - 10.0 * n) for n in range(num_top))
        )


class ScriptedFleet:
    """One engine for every model. The models of `cold` have not been loaded before `gate` is opened."""

    def __init__(
        self, engine: ScriptedEngine, cold: Sequence[str] = (), gate: asyncio.Event | None = None
    ) -> None:
        self._engine = engine
        self._names = (MODEL, *cold)
        self._cold = set(cold)
        self._gate = gate or asyncio.Event()

    @property
    def status(self) -> Mapping[str, EngineStatus]:
        unloaded = replace(self._engine.status, state="unloaded")
        return {name: unloaded if name in self._cold else self._engine.status for name in self._names}

    async def info(self, name: str) -> None:
        if name in self._cold:
            await self._gate.wait()
            self._cold.discard(name)

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[ScriptedEngine]:
        yield self._engine


def service(
    engine: ScriptedEngine | None = None,
    limits: Limits = LIMITS,
    door: Door | None = None,
    keys: Sequence[ApiKey] = (),
    cors_origins: Sequence[str] = (),
    chat: ChatModel | None = None,
    cold: Sequence[str] = (),
    gate: asyncio.Event | None = None,
    monitor: Monitor | None = None,
) -> Starlette:
    """With the model `MODEL`, and those of `cold`, which are the same when they have been loaded."""
    fleet = cast(Fleet, ScriptedFleet(engine or ScriptedEngine(), cold, gate))
    offers = [Offer(name, fleet, lambda _: chat or model()) for name in (MODEL, *cold)]
    offers[0].known = chat or model()
    return build_api(offers, fleet, limits, door or open_door(), keys, cors_origins, monitor)


def open_door(max_requests: int = 64) -> Door:
    return Door(lambda: max_requests)


def body(content: object = "Hi", **fields: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def image(url: str = RED_PIXEL) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": url}}


def call(app: Starlette, path: str = PATH, method: str = "POST", **request: Any) -> httpx.Response:
    """One request, its whole response."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())


def ask(app: Starlette, headers: Mapping[str, str] | None = None, **fields: object) -> httpx.Response:
    """A chat completion of "Hi", unless `messages` says something else."""
    return call(app, json=body() | fields, headers=headers)


def events(response: httpx.Response) -> list[Any]:
    """What follows each `data: ` of a stream, as JSON where it is JSON. Anything else but comments is a
    fault."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *blocks, end = response.text.split("\n\n")
    assert end == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    lines = [block.removeprefix("data: ") for block in blocks]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


class Connection:
    """One request driven by hand over ASGI, for clients that leave."""

    def __init__(self, app: Starlette, request: Mapping[str, object], path: str = PATH) -> None:
        self._app = app
        self._path = path
        self._inbox: asyncio.Queue[dict[str, object]] = asyncio.Queue()
        self._inbox.put_nowait(
            {"type": "http.request", "body": json.dumps(request).encode(), "more_body": False}
        )
        self.sent: list[dict[str, Any]] = []
        self.received = asyncio.Event()

    async def run(self) -> None:
        """Until the application is done with the request."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [],
            "client": ("test", 1),
            "server": ("test", 80),
        }
        await self._app(scope, self._inbox.get, self._send)

    def leave(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        self.received.set()
