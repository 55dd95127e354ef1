"""Log lines for people and for machines."""

import json
import logging
import sys

from gateway.logs import JsonLines, PlainLines


def record(message: str, error: Exception | None = None, **facts: object) -> logging.LogRecord:
    made = logging.LogRecord("gateway.access", logging.INFO, __file__, 1, message, (), None)
    made.created = 0.5
    made.__dict__["facts"] = facts
    if error is not None:
        try:
            raise error
        except type(error):
            made.exc_info = sys.exc_info()
    return made


def test_a_line_for_people_has_time_level_name_message_and_facts() -> None:
    line = PlainLines().format(record("GET /health", status=200, name='a "b"', note=""))
    time, rest = line.split(" ", 1)
    assert time.endswith("00.500+00:00") or "T" in time
    assert rest == 'INFO    gateway.access GET /health status=200 name="a \\"b\\"" note=""'


def test_a_clients_text_cannot_pass_for_a_line_of_its_own() -> None:
    assert "\n" not in PlainLines().format(record("GET /", model="x\n1970 ERROR gone"))


def test_a_line_for_machines_is_one_json_object() -> None:
    line = json.loads(JsonLines().format(record("GET /health", status=200, name="é\n")))
    assert line == {
        "time": line["time"],
        "level": "info",
        "logger": "gateway.access",
        "message": "GET /health",
        "status": 200,
        "name": "é\n",
    }


def test_both_forms_show_where_an_error_came_from() -> None:
    plain = PlainLines().format(record("unexpected", ZeroDivisionError("x")))
    assert plain.splitlines()[1:][0] == "Traceback (most recent call last):"
    assert plain.endswith("ZeroDivisionError: x")
    machine = JsonLines().format(record("unexpected", ZeroDivisionError("x")))
    assert "\n" not in machine
    assert json.loads(machine)["trace"].endswith("ZeroDivisionError: x")
