"""A client that hides nothing: status, headers, and bytes in the order in which they come."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from gateway.demo import MODEL_NAME

TIMEOUT_S = 60
Body = dict[str, Any] | list[Any] | bytes


@dataclass(frozen=True)
class Reply:
    """Names of headers are in lower case; `arrivals` are when each event of a stream was whole."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    arrivals: tuple[float, ...] = ()

    @property
    def json(self) -> Any:
        assert self.headers["content-type"].split(";")[0] == "application/json"
        return json.loads(self.data)

    @property
    def error(self) -> dict[str, str | None]:
        """The one of the body, which has OpenAI's shape."""
        assert set(self.json) == {"error"}
        error: dict[str, str | None] = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert isinstance(error["message"], str)
        assert isinstance(error["type"], str)
        assert all(error[key] is None or isinstance(error[key], str) for key in ("param", "code"))
        return error

    @property
    def completion(self) -> dict[str, Any]:
        """The body, which has the shape of a chat completion."""
        assert self.status == 200, self.data[:300]
        body: dict[str, Any] = self.json
        assert (body["object"], body["model"]) == ("chat.completion", MODEL_NAME)
        assert body["id"].startswith("chatcmpl-")
        assert isinstance(body["created"], int)
        for index, choice in enumerate(body["choices"]):
            message = choice["message"]
            assert choice["index"] == index
            assert message["role"] == "assistant"
            assert isinstance(message["content"], str) or message["tool_calls"]
            assert choice["finish_reason"] in ("stop", "length", "tool_calls")
        assert body["choices"]
        usage = body["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["prompt_tokens"] > 0
        return body

    @property
    def events(self) -> list[bytes]:
        """The data of each; comments are left out."""
        blocks = (block.split(b"\n") for block in self.data.replace(b"\r\n", b"\n").split(b"\n\n"))
        told = ([line[5:].strip() for line in block if line.startswith(b"data:")] for block in blocks)
        return [b"\n".join(lines) for lines in told if lines]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The events of a whole stream but the last, which says that it is."""
        assert self.status == 200, self.data[:300]
        *events, last = self.events
        assert last == b"[DONE]"
        return [json.loads(event) for event in events]

    @property
    def text(self) -> str:
        """Of a whole stream with one choice."""
        return "".join(
            choice["delta"].get("content") or "" for chunk in self.chunks for choice in chunk["choices"]
        )


@dataclass(frozen=True)
class Client:
    """Of one gateway, with a key. Paths are behind the base URL unless they start with it."""

    base_url: str
    key: str

    @property
    def address(self) -> tuple[str, int]:
        url = urlsplit(self.base_url)
        assert url.hostname
        assert url.port
        return url.hostname, url.port

    @contextmanager
    def connected(self) -> Iterator[HTTPConnection]:
        connection = HTTPConnection(*self.address, timeout=TIMEOUT_S)
        try:
            yield connection
        finally:
            connection.close()

    def ask(
        self,
        body: Body | None = None,
        *,
        method: str = "POST",
        path: str = "/v1/chat/completions",
        headers: Mapping[str, str] | None = None,
        on: HTTPConnection | None = None,
    ) -> Reply:
        """The answer to a body as JSON, or as it is; on that connection, or on one of its own. A header
        without a value is not sent."""
        if on is None:
            with self.connected() as connection:
                return self.ask(body, method=method, path=path, headers=headers, on=connection)
        given = {"authorization": f"Bearer {self.key}", "content-type": "application/json", **(headers or {})}
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        # The server may refuse what is too large before it has read all of it.
        with suppress(BrokenPipeError, ConnectionResetError):
            on.request(method, path, sent, {name: value for name, value in given.items() if value})
        response = on.getresponse()
        data = response.read()
        return Reply(response.status, _lower(response.getheaders()), data)

    def stream(
        self, body: dict[str, Any], *, on: HTTPConnection | None = None, leave_after: int = 0
    ) -> Reply:
        """The same for a stream; with `leave_after`, the connection is closed after so many events."""
        if on is None:
            with self.connected() as connection:
                return self.stream(body, on=connection, leave_after=leave_after)
        given = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        on.request("POST", "/v1/chat/completions", json.dumps(body | {"stream": True}), given)
        data, begun = b"", False
        arrivals: list[float] = []
        with on.getresponse() as response:
            while (line := response.readline()) and not 0 < leave_after <= len(arrivals):
                data += line
                begun = begun or line.startswith(b"data:")
                if begun and not line.strip():
                    arrivals.append(monotonic())
                    begun = False
        return Reply(response.status, _lower(response.getheaders()), data, tuple(arrivals))

    @contextmanager
    def sending(self, head: str, data: bytes, buffer: int | None = None) -> Iterator[socket.socket]:
        """A socket to which a POST with these headers and that much of a body was written."""
        with socket.create_connection(self.address, timeout=TIMEOUT_S) as sock:
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            lines = [
                "POST /v1/chat/completions HTTP/1.1",
                "Host: axgate",
                "Content-Type: application/json",
                f"Authorization: Bearer {self.key}",
                *head.splitlines(),
            ]
            sock.sendall("\r\n".join([*lines, "", ""]).encode() + data)
            yield sock


def _lower(headers: list[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}
