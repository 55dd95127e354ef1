"""docs/api.md says what there is: every endpoint, every field of a request, every header and limit."""

import re
from dataclasses import replace
from pathlib import Path

from starlette.routing import Route

from gateway.api.body import MAX_VALUES
from gateway.api.chat_request import MAX_VARIABLE, ChatRequest
from gateway.api.connection import BODY_TIMEOUT_S
from gateway.api.delivery import PING_S, WAITING_PING_S
from gateway.api.door import Door
from gateway.api.feed import PREPARING_S, QUIET_S
from gateway.api.http import HEAD_TIMEOUT_S, KEEP_ALIVE_S, MAX_HEAD_BYTES, STALL_TIMEOUT_S
from gateway.api.keys import ApiKey
from gateway.api.pace import FIRST_GUESS_S, LEAST_S, MEMORY, MOST_S
from gateway.api.refusal import WORDS
from gateway.api.wire import MAX_NAME
from gateway.chat.media import MediaLimits
from gateway.errors import EngineFailure, GatewayError
from gateway.vision.image import MAX_EDGE
from gateway.vision.video import MAX_LISTED, TIMEOUT_S
from tests.api.fields import fields
from tests.api.scripted_chat import scripted
from tests.api.service import LIMITS, ScriptedEngine, ask, call, service

NUMBERS = ("integer", "decimal")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")


def test_every_endpoint_has_its_row() -> None:
    routes = [route for route in service().routes if isinstance(route, Route)]
    served = {
        (method, route.path.replace(":path", ""))
        for route in routes
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert set(re.findall(r"^\| `(GET|POST|DELETE) (\S+)` \|", PAGE, re.MULTILINE)) == served


def table(title: str) -> list[list[str]]:
    """The cells of the rows of the table that begins so."""
    _, _, rest = PAGE.partition(f"\n| {title} |")
    rows = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_every_field_of_a_request_has_its_row_with_what_it_may_hold() -> None:
    rows = table("field | accepted")
    assert [(path.strip("`| "), accepted) for path, accepted, *_ in rows] == fields(ChatRequest)


def test_every_header_of_an_answer_has_its_row() -> None:
    tool = {"type": "function", "function": {"name": "look"}}
    app = service(chat=scripted(tools_left_out=True))
    failing = service(ScriptedEngine("", error=EngineFailure("It stopped.")))
    answers = [
        *(ask(app, tools=[tool], stream=stream) for stream in (False, True)),
        ask(failing),
        ask(service(keys=[ApiKey("a", b"")])),
        ask(service(door=Door(lambda: 0))),
        call(service(), method="GET"),
        call(service(limits=replace(LIMITS, max_body_bytes=1)), json={}),
        call(service(), json={}, headers={"content-encoding": "gzip"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 500, 401, 503, 405, 413, 415]
    sent = {name for answer in answers for name in answer.headers}
    told = {name for row in table("header of an answer") for name in re.findall(r"`([\w-]+)`", row[0])}
    assert told == sent - {"content-type", "content-length"}


def test_every_error_code_is_listed_with_its_status_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \|(.*?)\|", PAGE, re.MULTILINE)
    listed = {(int(status), code) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    kinds = [GatewayError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    told = {(kind.status, kind.code) for kind in kinds if kind.code}
    wrong = [code.format(number=number) for code, _ in WORDS.values() for number in NUMBERS if code]
    files = (ROOT / "gateway").rglob("*.py")
    given = [code for file in files for code in re.findall(r'\bcode="(\w+)"', file.read_text("utf-8"))]
    assert told | {(400, code) for code in (*wrong, *given)} == listed


def test_the_limits_of_a_body_are_as_written() -> None:
    assert f"strings of up to {MAX_VARIABLE} characters" in PAGE
    assert f"Names have up to {MAX_NAME} characters" in PAGE
    assert f"up to {MAX_VALUES:,} commas and brackets" in PAGE
    assert PAGE.count(f"within {BODY_TIMEOUT_S:.0f} seconds") == 2


def test_the_limits_of_pictures_and_videos_are_as_written() -> None:
    assert f"with up to {MAX_EDGE} pixels along an edge" in PAGE
    assert f"list of up to {MAX_LISTED} URLs of frames" in PAGE
    assert f"may take {TIMEOUT_S:.0f} s to decode" in PAGE


def test_downloads_are_limited_as_written() -> None:
    limits = MediaLimits(1, 3, timeout_s=1)
    assert f"fetched {limits.max_downloads} at a time" in PAGE
    assert limits.max_total_bytes == 2 * 3
    assert "twice as many bytes as the largest file" in PAGE


def test_times_are_as_written() -> None:
    assert f"{QUIET_S:.0f} s has passed; only where" in PAGE
    assert f"longer than {PREPARING_S:.0f} s, it begins before" in PAGE
    assert WAITING_PING_S == 1
    assert "every second until the first token" in PAGE
    assert f"every {PING_S:.0f} s afterwards" in PAGE
    assert f"the last {MEMORY} or so" in PAGE
    assert f"{FIRST_GUESS_S:.0f} s each before" in PAGE
    assert f"{LEAST_S:.0f} to {MOST_S:.0f} s in all" in PAGE
    assert f"say nothing for {HEAD_TIMEOUT_S:.0f} s" in PAGE
    assert f"headers ({MAX_HEAD_BYTES >> 10} KB at most)" in PAGE
    assert f"idle ones after {KEEP_ALIVE_S} s" in PAGE
    assert f"reads nothing for {STALL_TIMEOUT_S:.0f} s" in PAGE
