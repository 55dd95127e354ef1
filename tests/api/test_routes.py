"""Everything around chat completions: models, health, unknown paths, sizes, ids."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from backends.axcl.monitor import Monitor, Vitals
from gateway.api.messages import MAX_MESSAGES, MAX_PARTS
from gateway.api.sampling import MAX_CHOICES
from gateway.api.tools import MAX_TOOLS
from gateway.engine.client import EngineStatus
from gateway.engine.health import State
from tests.api.service import (
    CONTEXT,
    IMAGE_REACH,
    LIMITS,
    MODEL,
    PATH,
    ScriptedEngine,
    ask,
    body,
    call,
    model,
    service,
)


def error_of(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    error: dict[str, Any] = response.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    return error


def shown(name: str, created: int, *, known: bool) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "axgate",
        "loaded": known,
        "context_length": CONTEXT if known else None,
        "architecture": {"input_modalities": ["text", "image", "video"], "output_modalities": ["text"]}
        if known
        else None,
        "capabilities": {
            "vision": True,
            "video": True,
            "tools": True,
            "structured_output": True,
            "reasoning": False,
        }
        if known
        else None,
        "min_tokens_per_image": model().min_tokens_per_image if known else None,
        "max_tokens_per_image": model().max_tokens_per_image if known else None,
        "limits": {
            "max_body_bytes": LIMITS.max_body_bytes,
            "max_image_bytes": LIMITS.max_image_bytes,
            "max_image_pixels": LIMITS.max_image_pixels,
            "max_video_bytes": LIMITS.max_video_bytes,
            "max_video_seconds": 3600,
            "max_images": model().max_images if known else None,
            "max_videos": model().max_videos if known else None,
            "max_video_frames": 16 if known else None,
            "image_reach": IMAGE_REACH if known else None,
            "max_messages": MAX_MESSAGES,
            "max_parts": MAX_PARTS,
            "max_tools": MAX_TOOLS,
            "max_choices": MAX_CHOICES,
        },
    }


def test_models_are_listed_with_their_limits_as_far_as_they_are_known() -> None:
    app = service(cold=["cold"])
    listed = call(app, "/v1/models", "GET").json()
    created = listed["data"][0]["created"]
    assert isinstance(created, int)
    both = [shown(MODEL, created, known=True), shown("cold", created, known=False)]
    assert listed == {"object": "list", "data": both}
    assert [call(app, f"/v1/models/{name}", "GET").json() for name in (MODEL, "cold")] == both


def test_a_model_is_known_when_it_was_loaded_for_the_first_time() -> None:
    async def run() -> None:
        gate = asyncio.Event()
        app = service(cold=["cold"], gate=gate)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            asked = {"model": "cold", "text": "Hi"}
            waiting = asyncio.create_task(client.post("/v1/tokenize", json=asked))
            answering = asyncio.create_task(client.post(PATH, json=body() | {"model": "cold"}))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            assert (await client.post(PATH, json=body())).status_code == 200
            gate.set()
            assert (await waiting).json()["context_length"] == CONTEXT
            answer = (await answering).json()
            assert (answer["model"], answer["choices"][0]["finish_reason"]) == ("cold", "stop")
            listed = (await client.get("/v1/models/cold")).json()
            assert listed == shown("cold", listed["created"], known=True)

    asyncio.run(asyncio.wait_for(run(), 10))


@pytest.mark.parametrize("name", ["nope", "Qwen/Qwen3-VL"])
def test_another_model_is_not_found(name: str) -> None:
    response = call(service(cold=["other"]), f"/v1/models/{name}", "GET")
    assert response.status_code == 404
    assert error_of(response) == {
        "message": f"The model '{name}' does not exist. This server has 'demo', 'other'.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }


def test_a_long_name_is_not_told_back_whole() -> None:
    name = "n" * 60_000
    for response in (ask(service(), model=name), call(service(), f"/v1/models/{name}", "GET")):
        assert response.status_code == 404
        assert len(response.content) < 400
    assert len(call(service(), f"/{name}", "GET").content) < 400


def test_a_model_name_with_blanks_around_it_is_the_same() -> None:
    assert ask(service(), model=f" {MODEL} ").status_code == 200
    assert ask(service(), model=MODEL.upper()).status_code == 404


def test_health_says_what_the_engines_do() -> None:
    response = call(service(cold=["cold"]), "/health", "GET")
    engine = {"state": "ready", "num_requests": 0, "num_restarts": 0, "levels": {}, "stats": None}
    engine |= {"reserved_bytes": None, "kv_write": None}
    engines = {MODEL: engine, "cold": engine | {"state": "unloaded"}}
    assert (response.status_code, response.json()) == (200, {"status": "ok", "engines": engines})


def test_health_says_how_the_card_is_once_it_was_asked() -> None:
    async def scenario() -> None:
        monitor = Monitor(lambda: Vitals(temperature_c=41.0, npu_load=0.5))
        transport = httpx.ASGITransport(service(monitor=monitor))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            first = (await client.get("/health")).json()["card"]
            await monitor.close()
            second = (await client.get("/health")).json()["card"]
        assert set(first.values()) == {None}
        assert (second["temperature_c"], second["npu_load"], second["cmm_bytes"]) == (41.0, 0.5, None)
        assert 0 <= second["age_s"] < 60

    asyncio.run(scenario())


class InState(ScriptedEngine):
    def __init__(self, state: State) -> None:
        super().__init__()
        self.status = EngineStatus(state, 0, 1, {}, None)


@pytest.mark.parametrize("state", ["ready", "loading", "unloaded"])
def test_a_server_is_ready_while_it_can_be_asked(state: State) -> None:
    response = call(service(InState(state), cold=["cold"]), "/ready", "GET")
    told = {"status": "ready", "models": {MODEL: state, "cold": "unloaded"}}
    assert (response.status_code, response.json()) == (200, told)


@pytest.mark.parametrize("state", ["restarting", "broken", "closed"])
def test_a_server_without_an_engine_lives_but_is_not_ready(state: State) -> None:
    app = service(InState(state), cold=["cold"])
    response = call(app, "/ready", "GET")
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert error_of(response) == {
        "message": f"No model is ready: {MODEL} is {state}, cold is unloaded.",
        "type": "server_error",
        "param": None,
        "code": "engine_restarting",
    }
    health = call(app, "/health", "GET")
    told = "ok" if state == "closed" else "degraded"
    assert (health.status_code, health.json()["status"]) == (200, told)


def test_an_unknown_path_is_openais_404() -> None:
    response = call(service(), "/v1/nope")
    assert response.status_code == 404
    assert error_of(response)["message"] == "There is no POST /v1/nope here."


def test_a_wrong_method_is_openais_405() -> None:
    response = call(service(), method="GET")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert error_of(response)["message"] == "There is no GET /v1/chat/completions here."


def test_a_body_too_large_is_refused_before_it_is_read() -> None:
    response = call(service(limits=replace(LIMITS, max_body_bytes=10)), json=body())
    assert response.status_code == 413
    assert error_of(response)["message"] == "The request body is larger than 10 bytes."


def test_a_body_of_unknown_length_is_read_up_to_the_limit() -> None:
    num_read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal num_read
        while True:
            num_read += 1
            yield b" " * 1000

    response = call(service(), content=endless())
    assert response.status_code == 413
    assert num_read <= LIMITS.max_body_bytes // 1000 + 2


@pytest.mark.parametrize("encoding", ["gzip", "zstd, identity"])
def test_a_compressed_body_is_refused_by_the_name_of_its_encoding(encoding: str) -> None:
    response = call(service(), json=body(), headers={"content-encoding": encoding})
    assert (response.status_code, response.headers["connection"]) == (415, "close")
    said = f"The content encoding '{encoding}' is not supported: send the body as it is."
    assert error_of(response)["message"] == said
    assert call(service(), json=body(), headers={"content-encoding": "Identity"}).status_code == 200


def test_a_byte_order_mark_is_no_part_of_a_body() -> None:
    """Windows' tools write one."""
    assert call(service(), content=b"\xef\xbb\xbf" + json.dumps(body()).encode()).status_code == 200


def test_every_answer_has_an_id_of_its_own() -> None:
    app = service()
    responses = [
        ask(app),
        ask(app),
        ask(app, stream=True),
        ask(app, max_tokens=-1),
        call(app, "/nope"),
        call(app, method="GET"),
    ]
    ids = [response.headers["x-request-id"] for response in responses]
    assert all(ids)
    assert len(set(ids)) == len(ids)


def test_a_fault_of_ours_is_a_500_that_keeps_its_secret(caplog: pytest.LogCaptureFixture) -> None:
    response = ask(service(ScriptedEngine("", error=ZeroDivisionError("secret"))))
    assert response.status_code == 500
    assert error_of(response) == {
        "message": "The server had an error.",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    assert "ZeroDivisionError: secret" in caplog.text
    assert response.headers["x-request-id"]
