"""docs/api.md says what there is: every endpoint and every field of a request."""

import re
from pathlib import Path

from starlette.routing import Route

from gateway.api.protocol import CompletionRequest
from gateway.api.routes import PATIENCE_S
from gateway.errors import GatewayError
from tests.api.service import service

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


def test_every_error_code_of_a_class_is_listed_with_its_status() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", PAGE, re.MULTILINE)
    listed = {(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    kinds = [GatewayError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {(kind.status, kind.code) for kind in kinds if kind.code} <= listed


def test_the_patience_of_a_stream_is_as_written() -> None:
    assert f"after {PATIENCE_S:.0f} s without" in PAGE
