"""Who may ask, and who may ask from a browser."""

import logging
from hashlib import sha256
from typing import Any

import pytest

from gateway.api.keys import ApiKey
from gateway.engine.prompt import Identity
from tests.api.service import PATH, ScriptedEngine, body, call, service
from tests.api.test_routes import error_of

GIVEN = {"ann": b"sk-1", "bob": "clé".encode(), "eve": "voilà".encode()}
KEYS = [ApiKey(name, sha256(key).digest()) for name, key in GIVEN.items()]
MISSING = {
    "message": "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
    "type": "invalid_request_error",
    "param": None,
    "code": None,
}
WRONG = {
    "message": "Incorrect API key provided.",
    "type": "invalid_request_error",
    "param": None,
    "code": "invalid_api_key",
}


@pytest.mark.parametrize(
    ("method", "path", "request_body"),
    [
        ("POST", PATH, body()),
        ("POST", PATH, body(stream=True)),
        ("GET", "/v1/models", None),
        ("GET", "/v1/models/demo", None),
        ("POST", "/v1/tokenize", body()),
        ("GET", "/ready", None),
    ],
)
@pytest.mark.parametrize(
    ("given", "error"),
    [
        (None, MISSING),
        ("", MISSING),
        ("Bearer", MISSING),
        ("Bearer  ", MISSING),
        ("Basic sk-1", WRONG),
        ("Bearer sk-2", WRONG),
        ("Bearer sk-1x", WRONG),
        ("Bearer " + "x" * 10_000, WRONG),
        ("Bearer sk-1", None),
        ("bearer sk-1", None),
        ("BEARER   sk-1 ", None),
        ("sk-1", None),
        ("Bearer clé".encode(), None),
        ("Bearer voilà".encode(), None),  # whose last byte is a blank in Latin-1
    ],
)
def test_only_who_has_a_key_may_ask(
    method: str, path: str, request_body: Any, given: str | bytes | None, error: dict[str, Any] | None
) -> None:
    engine = ScriptedEngine()
    headers: Any = {} if given is None else {"Authorization": given}
    response = call(service(engine, keys=KEYS), path, method, json=request_body, headers=headers)
    if error is None:
        assert response.status_code == 200
        return
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert error_of(response) == error
    assert response.headers["x-request-id"]
    assert engine.requests == []


def test_a_key_may_come_in_the_header_of_azures_clients() -> None:
    for key, status in [("sk-1", 200), ("sk-2", 401)]:
        response = call(service(keys=KEYS), json=body(), headers={"api-key": key})
        assert response.status_code == status


def test_whether_the_server_lives_is_open_to_all() -> None:
    assert call(service(keys=KEYS), "/health", "GET").status_code == 200
    assert call(service(keys=KEYS), "/health/", "GET").status_code == 401
    assert call(service(keys=KEYS), "/nope", "GET").status_code == 401


def test_the_owner_of_a_conversation_is_the_name_of_the_key() -> None:
    engine = ScriptedEngine()
    call(service(engine, keys=KEYS), json=body(), headers={"Authorization": "Bearer sk-1"})
    assert engine.requests[0].identity == Identity(owner="ann")


@pytest.mark.parametrize(("key", "noted"), [("sk-1", "ann"), ("sk-2", None)])
def test_the_log_tells_the_name_of_a_key_and_never_the_key(
    caplog: pytest.LogCaptureFixture, key: str, noted: str | None
) -> None:
    caplog.set_level(logging.INFO, "gateway.access")
    call(service(keys=KEYS), json=body(), headers={"Authorization": f"Bearer {key}"})
    (record,) = (record for record in caplog.records if record.name == "gateway.access")
    facts = record.__dict__["facts"]
    assert facts.get("key") == noted
    assert key not in str(facts)


# --- browsers

PAGE = "https://chat.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-session-id",
}


@pytest.mark.parametrize("origins", [[PAGE], ["*"]])
def test_a_page_may_ask_first_without_a_key_and_then_with_one(origins: list[str]) -> None:
    app = service(keys=KEYS, cors_origins=origins)
    first = call(app, method="OPTIONS", headers=PREFLIGHT)
    assert first.status_code == 200
    assert first.headers["access-control-allow-origin"] in (PAGE, "*")
    assert first.headers["access-control-allow-headers"] == PREFLIGHT["Access-Control-Request-Headers"]
    then = call(app, json=body(), headers={"Origin": PAGE, "Authorization": "Bearer sk-1"})
    assert then.status_code == 200
    assert then.headers["access-control-allow-origin"] in (PAGE, "*")
    exposed = then.headers["access-control-expose-headers"].split(", ")
    assert exposed == ["x-request-id", "x-axgate-ignored", "retry-after", "x-should-retry"]


def test_a_page_can_read_what_is_wrong() -> None:
    response = call(service(keys=KEYS, cors_origins=[PAGE]), json=body(), headers={"Origin": PAGE})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (401, PAGE)


@pytest.mark.parametrize("origins", [[], ["https://other.example"]])
def test_any_other_page_may_not_ask(origins: list[str]) -> None:
    app = service(cors_origins=origins)
    assert call(app, method="OPTIONS", headers=PREFLIGHT).status_code in (400, 405)
    response = call(app, json=body(), headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in response.headers
