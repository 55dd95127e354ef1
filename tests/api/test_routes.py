"""Everything around chat completions: models, health, unknown paths, sizes, ids."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gateway.api.protocol import MAX_MESSAGES, MAX_PARTS, MAX_TOOLS
from gateway.engine.client import EngineStatus, State
from tests.api.service import (
    CONTEXT,
    IMAGE_REACH,
    LIMITS,
    MODEL,
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


def test_the_model_is_listed_with_its_limits() -> None:
    listed = call(service(), "/v1/models", "GET").json()
    shown = {
        "id": MODEL,
        "object": "model",
        "created": listed["data"][0]["created"],
        "owned_by": "axgate",
        "context_length": CONTEXT,
        "tokens_per_image": model().num_tokens_per_image,
        "limits": {
            "max_body_bytes": LIMITS.max_body_bytes,
            "max_image_bytes": LIMITS.max_image_bytes,
            "max_image_pixels": LIMITS.max_image_pixels,
            "max_images": model().max_images,
            "image_reach": IMAGE_REACH,
            "max_messages": MAX_MESSAGES,
            "max_parts": MAX_PARTS,
            "max_tools": MAX_TOOLS,
        },
    }
    assert listed == {"object": "list", "data": [shown]}
    assert isinstance(shown["created"], int)
    assert set(call(service(), f"/v1/models/{MODEL}", "GET").json()) == set(shown)


@pytest.mark.parametrize("name", ["nope", "Qwen/Qwen3-VL"])
def test_another_model_is_not_found(name: str) -> None:
    response = call(service(), f"/v1/models/{name}", "GET")
    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"


def test_a_long_name_is_not_told_back_whole() -> None:
    name = "n" * 60_000
    for response in (ask(service(), model=name), call(service(), f"/v1/models/{name}", "GET")):
        assert response.status_code == 404
        assert len(response.content) < 400
    assert len(call(service(), f"/{name}", "GET").content) < 400


def test_a_model_name_with_blanks_around_it_is_the_same() -> None:
    assert ask(service(), model=f" {MODEL} ").status_code == 200
    assert ask(service(), model=MODEL.upper()).status_code == 404


def test_health_says_what_the_engine_does() -> None:
    response = call(service(), "/health", "GET")
    engine = {"state": "ready", "num_requests": 0, "num_restarts": 0, "stats": None}
    assert (response.status_code, response.json()) == (200, {"status": "ok", "engine": engine})


def test_a_server_is_ready_while_its_engine_is() -> None:
    response = call(service(), "/ready", "GET")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize("state", ["starting", "restarting", "closed"])
def test_a_server_without_its_engine_lives_but_is_not_ready(state: State) -> None:
    class Away(ScriptedEngine):
        status = EngineStatus(state, 0, 1, None)

    app = service(Away())
    response = call(app, "/ready", "GET")
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert error_of(response) == {
        "message": f"The engine is {state}.",
        "type": "server_error",
        "param": None,
        "code": "engine_restarting",
    }
    assert call(app, "/health", "GET").status_code == 200


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
