"""A server that is told to stop while clients wait for it."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.server import _listen
from tests.served import Gateway, served

ENDLESS = {
    "model": "axgate-demo",
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "logit_bias": {"0": -100, "2": -100},  # no end of a turn
}
SHUT_DOWN = "The server is shutting down."


def stopped(gateway: Gateway, number: int = signal.SIGTERM) -> None:
    """Tells it, and waits until it has ended as it should."""
    gateway.process.send_signal(number)
    start = monotonic()
    assert gateway.process.wait(10) == 0, gateway.log.read_text()
    assert monotonic() - start < 4


def until(true: Callable[[], bool]) -> None:
    patience = monotonic() + 30
    while not true():
        assert monotonic() < patience
        sleep(0.02)


def num_requests(gateway: Gateway) -> int:
    engines = httpx.get(gateway.base_url.replace("/v1", "/health")).json()["engines"]
    return sum(engine["num_requests"] for engine in engines.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stream_under_way_ends_with_an_error_event(number: int) -> None:
    with served() as gateway, httpx.Client(timeout=20) as client:
        url = f"{gateway.base_url}/chat/completions"
        with client.stream("POST", url, json=ENDLESS | {"stream": True}) as response:
            lines = response.iter_lines()
            for _ in range(8):
                next(lines)
            with ThreadPoolExecutor(1) as pool:
                ending = pool.submit(stopped, gateway, number)
                rest = [line for line in lines if line]
                ending.result()
    last: dict[str, Any] = json.loads(rest[-1].removeprefix("data: "))
    assert last["error"]["message"] == SHUT_DOWN


def test_an_answer_in_one_piece_ends_as_a_503() -> None:
    with served() as gateway, ThreadPoolExecutor(1) as pool:
        url = f"{gateway.base_url}/chat/completions"
        asking = pool.submit(httpx.post, url, json=ENDLESS, timeout=20)
        until(lambda: num_requests(gateway) == 1)
        stopped(gateway)
        answer = asking.result()
    assert (answer.status_code, answer.json()["error"]["message"]) == (503, SHUT_DOWN)


def test_a_half_sent_body_holds_nothing_up() -> None:
    with served() as gateway:
        address = urlsplit(gateway.base_url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as client:
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            sleep(0.3)
            stopped(gateway)
            answer = client.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 503 ")
    assert SHUT_DOWN in answer


def test_a_server_told_to_stop_while_it_loads_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "loading" in process.stderr.readline()
        assert [*tmp_path.glob("axgate-*")]  # the packages of the demo models
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=20)[1]
    assert (process.returncode, "Traceback" in told) == (0, False)
    assert not [*tmp_path.glob("axgate-*")]


def test_the_end_of_an_answer_does_not_wait_until_its_beginning_is_acknowledged() -> None:
    with _listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
