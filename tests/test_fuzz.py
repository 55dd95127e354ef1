"""The fuzz finds what is wrong, and at this gateway nothing."""

import asyncio
import random
from collections.abc import Mapping

import httpx
import pytest

from bench.fuzz import OPTIONS, errors, fault, fuzz
from bench.fuzz_requests import asked, right
from tests.served import served

SEED, NUM_REQUESTS = 20261121, 300
JSON = {"content-type": "application/json", "x-request-id": "req_1"}
EVENTS = {"content-type": "text/event-stream", "x-request-id": "req_1"}
ERROR = b'{"error":{"message":"No.","type":"invalid_request_error","param":null,"code":null}}'
CHUNK = b'data: {"choices":[]}\n\n'


def test_requests_that_are_nearly_right_do_no_harm() -> None:
    with served(*OPTIONS, faults=True) as gateway:
        with httpx.Client(base_url=gateway.base_url.removesuffix("/v1"), timeout=60) as client:
            answers = [client.post(path, json=body) for path, body in right()]
        assert [(answer.status_code, fault(answer, answer.content)) for answer in answers] == [
            (200, "") for _ in right()
        ]
        # So few do not fill what may be filled, so the memory is looked at by long runs (docs/api.md).
        run = asyncio.run(fuzz(gateway, SEED, 0, NUM_REQUESTS, limit_s=120, max_growth_mb=256))
    assert run.defects == []
    assert run.num_asked == NUM_REQUESTS
    assert run.statuses["200"] > NUM_REQUESTS / 8
    assert run.statuses["400"] > NUM_REQUESTS / 8


def test_a_request_is_that_of_its_seed_and_number() -> None:
    requests = [asked(random.Random(f"7/{place}")) for place in range(200)]
    assert requests == [asked(random.Random(f"7/{place}")) for place in range(200)]
    assert len({request.body for request in requests}) > 150
    assert {request.path for request in requests} >= {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
    }


@pytest.mark.parametrize(
    ("status", "headers", "data"),
    [
        (400, JSON, ERROR),
        (503, JSON | {"retry-after": "1"}, ERROR),
        (200, JSON, b'{"object":"chat.completion"}'),
        (200, EVENTS, b": ping\n\n" + CHUNK + b"data: [DONE]\n\n"),
        (200, EVENTS, CHUNK + b'event: response.completed\ndata: {"type":"response.completed"}\n\n'),
    ],
)
def test_a_right_answer_is_no_defect(status: int, headers: Mapping[str, str], data: bytes) -> None:
    assert fault(httpx.Response(status, headers=headers), data) == ""


@pytest.mark.parametrize(
    ("status", "headers", "data"),
    [
        (500, JSON, ERROR),
        (503, JSON, ERROR),
        (400, {"content-type": "application/json"}, ERROR),
        (400, JSON, b'{"detail":"No."}'),
        (400, JSON, ERROR.replace(b'"code":null', b'"code":7')),
        (400, JSON, b"[]"),
        (200, JSON, b"null"),
        (200, EVENTS, CHUNK),
        (200, EVENTS, b""),
        (200, EVENTS, b"data: " + ERROR + b"\n\n"),
        (200, EVENTS, b"event: ping\n\n{}\n\ndata: [DONE]\n\n"),
    ],
)
def test_a_wrong_answer_is_a_defect(status: int, headers: Mapping[str, str], data: bytes) -> None:
    assert fault(httpx.Response(status, headers=headers), data)


@pytest.mark.parametrize(
    ("headers", "data"), [(JSON, b'{"x":NaN}'), (JSON, b"<p>"), (EVENTS, b"data: {\n\n")]
)
def test_what_is_no_json_raises(headers: Mapping[str, str], data: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|Expect"):
        fault(httpx.Response(200, headers=headers), data)


def test_errors_in_the_log_are_told_by_their_last_lines() -> None:
    log = (
        "2026-11-21T15:45:36.220+00:00 INFO    gateway fine\n"
        "2026-11-21T15:45:36.221+00:00 ERROR   gateway.access a request failed\n"
        "Traceback (most recent call last):\n  File …\nKeyError: 'x'\n"
        "2026-11-21T15:45:36.222+00:00 ERROR   gateway gone\n"
    )
    assert list(errors(log)) == ["KeyError: 'x'", "2026-11-21T15:45:36.222+00:00 ERROR   gateway gone"]
