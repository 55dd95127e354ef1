"""E: HTTP, and Z: whether all is as it was. C15 needs a web server of its own and stands here too."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import monotonic
from unittest.mock import ANY

from gateway.demo import MODEL_NAME
from tests.acceptance.case import Case, assert_refusal, chat, image, says, shown, text
from tests.acceptance.client import Client, Reply
from tests.acceptance.pictures import PNG, picture
from tests.acceptance.streams import LONG, length

FROM_A_PAGE = {
    "origin": "http://example.com",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


def models(client: Client) -> None:
    listed = client.ask(method="GET", path="/v1/models").json
    assert listed["object"] == "list"
    assert MODEL_NAME in [model["id"] for model in listed["data"]]
    for model in listed["data"]:
        assert (model["object"], type(model["created"]), type(model["owned_by"])) == ("model", int, str)


def one_model(client: Client) -> None:
    model = client.ask(method="GET", path=f"/v1/models/{MODEL_NAME}").json
    assert (model["object"], model["id"]) == ("model", MODEL_NAME)


def no_such_model(client: Client) -> None:
    assert_refusal(client.ask(method="GET", path="/v1/models/nope"), "model_not_found", ANY, 404)


def wrong_method(client: Client) -> None:
    reply = client.ask(method="GET")
    assert_refusal(reply, ANY, ANY, 405)
    assert reply.headers["allow"] == "POST"


def no_such_path(client: Client) -> None:
    assert_refusal(client.ask({}, path="/v1/nope"), ANY, ANY, 404)


def no_key(client: Client) -> None:
    assert_refusal(client.ask(chat(), headers={"authorization": ""}), None, None, 401)


def wrong_key(client: Client) -> None:
    assert_refusal(
        client.ask(chat(), headers={"authorization": "Bearer wrong"}), "invalid_api_key", None, 401
    )


def asked_from_a_page(client: Client) -> None:
    """No origin is allowed here, so the browser is told of none."""
    reply = client.ask(method="OPTIONS", headers=FROM_A_PAGE)
    assert reply.status < 500
    assert "access-control-allow-origin" not in reply.headers


def request_ids(client: Client) -> None:
    replies = client.ask(chat()), client.ask(chat()), client.ask(chat(max_tokens=-1)), client.stream(chat())
    assert len({reply.headers["x-request-id"] for reply in replies}) == 4


def waits_for_100_continue(client: Client) -> None:
    body = chat([says([text("x"), image(PNG)])], user="u" * 2_000_000)
    head = f"Expect: 100-continue\nConnection: close\n{length(body)}"
    with client.sending(head, b"") as sock:
        answer = sock.makefile("rb")
        assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"
        sock.sendall(json.dumps(body).encode())
        assert b"HTTP/1.1 200 OK\r\n" in answer.read()


def chunked_body(client: Client) -> None:
    data = json.dumps(chat()).encode()
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (data[:20], data[20:], b""))
    with client.sending("Transfer-Encoding: chunked\nConnection: close", parts) as sock:
        assert sock.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"


def health_during_a_stream(client: Client) -> None:
    body = LONG | {"stream": True}
    with client.sending(length(body), json.dumps(body).encode()) as sock:
        assert sock.recv(1)
        start = monotonic()
        health = client.ask(method="GET", path="/health", headers={"authorization": ""})
        assert monotonic() - start < 2
    assert health.status == 200
    assert health.json["engines"][MODEL_NAME]["num_requests"] > 0


def thirty_at_once(client: Client) -> None:
    def ask(number: int) -> Reply:
        return client.ask(chat([says(f"Say {number}")], max_tokens=8))

    with ThreadPoolExecutor(30) as pool:
        for reply in pool.map(ask, range(30)):
            if reply.status == 200:
                assert reply.completion
            else:
                assert reply.status in (429, 503)
                assert reply.error
                assert 0 < float(reply.headers["retry-after"]) <= 60


def bearer_in_small_letters(client: Client) -> None:
    assert client.ask(chat(), headers={"authorization": f"bearer {client.key}"}).completion


def still_works(client: Client) -> None:
    assert client.ask(chat()).completion


def not_fetched(client: Client) -> None:
    """Addresses of this machine are not even connected to."""
    with fetched_from() as (port, paths):
        assert_refusal(client.ask(shown(f"http://127.0.0.1:{port}/a.png")), "invalid_image_url", None)
    assert paths == []


@contextmanager
def fetched_from() -> Iterator[tuple[int, list[str]]]:
    """The port of a web server with a picture, and what it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            paths.append("connected")
            super().handle()

        def do_GET(self) -> None:
            data = picture()
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port, paths
        finally:
            server.shutdown()


CASES: tuple[Case, ...] = (
    Case("E01", "the models", models),
    Case("E02", "one model", one_model),
    Case("E03", "no such model", no_such_model),
    Case("E04", "GET where POST is meant", wrong_method),
    Case("E05", "no such path", no_such_path),
    Case("E06", "no key", no_key),
    Case("E07", "a wrong key", wrong_key),
    Case("E08", "a page in a browser asks whether it may", asked_from_a_page),
    Case("E09", "request ids", request_ids),
    Case("E10", "Expect: 100-continue and 2 MB", waits_for_100_continue),
    Case("E11", "a chunked body", chunked_body),
    Case("E12", "/health during a stream", health_during_a_stream, paced=True),
    Case("E13", "thirty at once", thirty_at_once),
    Case("E14", "bearer in small letters", bearer_in_small_letters),
    Case("Z01", "after all of these, a plain request", still_works),
)
