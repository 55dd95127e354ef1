"""docs/api.md says what there is: every endpoint and every field of a request."""

import re
from pathlib import Path

from starlette.routing import Route

from gateway.api.body import MAX_VALUES
from gateway.api.connection import BODY_TIMEOUT_S
from gateway.api.protocol import (
    MAX_BIASES,
    MAX_MESSAGES,
    MAX_NAME,
    MAX_PARTS,
    MAX_TOOLS,
    CompletionRequest,
)
from gateway.api.refusal import WORDS
from gateway.api.routes import PATIENCE_S
from gateway.errors import GatewayError
from gateway.vision.image import MAX_EDGE
from gateway.vision.video import MAX_LISTED, TIMEOUT_S
from tests.api.service import service

NUMBERS = ("integer", "decimal")
PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")


def test_every_endpoint_has_its_row() -> None:
    routes = [route for route in service().routes if isinstance(route, Route)]
    served = {
        (method, route.path.replace(":path", ""))
        for route in routes
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert set(re.findall(r"^\| `(GET|POST) (\S+)` \|", PAGE, re.MULTILINE)) == served


def test_every_field_of_a_request_has_its_row_in_order() -> None:
    assert re.findall(r"^\| `(\w+)` \| .* \|$", PAGE, re.MULTILINE) == list(CompletionRequest.model_fields)


def test_every_error_code_is_listed_with_its_status_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \|(.*?)\|", PAGE, re.MULTILINE)
    listed = {(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    kinds = [GatewayError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    told = {(kind.status, kind.code) for kind in kinds if kind.code}
    wrong = [code.format(number=number) for code, _ in WORDS.values() for number in NUMBERS if code]
    assert told | {(400, code) for code in (*wrong, "invalid_base64")} == listed


def test_the_limits_of_a_body_are_as_written() -> None:
    assert f"messages` | 1 to {MAX_MESSAGES}, " in PAGE
    assert f"has up to {MAX_PARTS} parts" in PAGE
    assert f"`tools` | up to {MAX_TOOLS}" in PAGE
    assert f"`logit_bias` | up to {MAX_BIASES} " in PAGE
    assert PAGE.count(f"up to {MAX_NAME} characters") == 2
    assert f"up to {MAX_VALUES:,} commas and brackets" in PAGE
    assert PAGE.count(f"within {BODY_TIMEOUT_S:.0f} seconds") == 2


def test_the_limits_of_pictures_and_videos_are_as_written() -> None:
    assert f"with up to {MAX_EDGE} pixels along an edge" in PAGE
    assert f"list of up to {MAX_LISTED} URLs of frames" in PAGE
    assert f"may take {TIMEOUT_S:.0f} s to decode" in PAGE


def test_the_patience_of_a_stream_is_as_written() -> None:
    assert f"after {PATIENCE_S:.0f} s without" in PAGE
