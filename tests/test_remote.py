"""The client of the terminal commands, against servers that misbehave."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from threading import Thread

import pytest
from rich.console import Console

from gateway.remote import Remote, RemoteError, Stats
from gateway.terminal import tell

CHUNK = b'data: {"choices": [{"delta": {"content": "Hi"}}], "usage": null}\n\n'
USAGE = (
    b'data: {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2,'
    b' "prompt_tokens_details": {"cached_tokens": 4}}}\n\n'
)


@contextmanager
def answering(status: int, body: bytes, length: int | None = None) -> Iterator[str]:
    """A server that gives one answer to everything, and may break off before the length it announced."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(length or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            serving.join()


def asked(url: str) -> list[str | Stats]:
    with Remote(url) as remote:
        return list(remote.ask("m", [{"role": "user", "content": "Hi"}]))


def test_an_answer_is_its_text_and_what_it_took() -> None:
    with answering(200, CHUNK + b": ping\n\n" + CHUNK + USAGE + b"data: [DONE]\n\n") as url:
        first, second, stats = asked(url)
    assert (first, second) == ("Hi", "Hi")
    assert isinstance(stats, Stats)
    assert (stats.num_prompt, stats.num_cached, stats.num_completion) == (9, 4, 2)
    assert 0 < stats.first_s <= stats.total_s


@pytest.mark.parametrize(
    ("status", "body", "length", "message"),
    [
        (400, b'{"error": {"message": "No such field."}}', None, "No such field."),
        (502, b"<html>", None, "The server answered 502 Bad Gateway."),
        (200, CHUNK + b'data: {"error": {"message": "It stopped."}}\n\n', None, "It stopped."),
        (200, b"data: <html>\n\n", None, "is no chat server"),
        (200, b"data: 5\n\n", None, "is no chat server"),
        (200, CHUNK, 1000, "broke: peer closed connection"),
    ],
)
def test_what_goes_wrong_is_a_sentence(status: int, body: bytes, length: int | None, message: str) -> None:
    with answering(status, body, length) as url, pytest.raises(RemoteError, match=message):
        asked(url)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"data": [{}]}', b'{"data": 5}', b'{"data": [5]}', b"\xff"]
)
def test_what_is_no_list_of_models_is_a_sentence(body: bytes) -> None:
    with answering(200, body) as url, Remote(url) as remote:
        with pytest.raises(RemoteError) as caught:
            remote.models()
        assert str(caught.value) == f"What answers at {url} is no chat server."
        with pytest.raises(RemoteError, match=r"is no chat server\. Did you mean .*/other/v1\?$"):
            Remote(url.replace("/v1", "/other")).models()


def test_a_server_without_a_model_is_told() -> None:
    with answering(200, b'{"data": []}') as url, pytest.raises(RemoteError, match="has no model"):
        Remote(url).models()


def test_ctrl_c_cancels_an_answer_and_keeps_what_was_said() -> None:
    closed = False

    def pieces() -> Generator[str | Stats, None, None]:
        nonlocal closed
        try:
            yield "Once upon"
            raise KeyboardInterrupt
        finally:
            closed = True

    screen = StringIO()
    assert tell(Console(file=screen), pieces()) == "Once upon"
    assert screen.getvalue() == "Once upon\n(cancelled)\n"
    assert closed


def test_a_rate_is_told_only_where_the_clock_can_tell_one() -> None:
    stats = Stats(first_s=0.1, total_s=0.5, num_prompt=52, num_cached=0, num_completion=21)
    assert str(stats) == "first token after 100 ms, 50 tokens/s, prompt of 52 tokens (0 cached)"
    for unclear in (replace(stats, num_completion=3), replace(stats, total_s=0.102)):
        assert str(unclear) == "first token after 100 ms, prompt of 52 tokens (0 cached)"
