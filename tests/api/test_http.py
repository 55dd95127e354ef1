"""Connections that hang, on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette

from gateway.api.http import MAX_HEAD_BYTES, HttpProtocol
from tests.api.service import MODEL, ScriptedEngine, body, service

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.api.http.HEAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr("gateway.api.http.STALL_TIMEOUT_S", 0.3)


@asynccontextmanager
async def listening(app: Starlette) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app,
        port=0,
        lifespan="off",
        log_config=None,
        http=HttpProtocol,
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talk(app: Starlette, what: Talk) -> None:
    async def run() -> None:
        async with listening(app) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            try:
                await what(reader, writer)
            finally:
                writer.close()

    asyncio.run(asyncio.wait_for(run(), 20))


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].split()[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def ends(reader: asyncio.StreamReader) -> bool:
    """The server closes the connection within a second."""
    try:
        return await asyncio.wait_for(reader.read(), 1) == b""
    except ConnectionError:
        return True


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("num_whole", [0, 1])
@pytest.mark.parametrize("beginning", [b"G", GET[:20]])
def test_a_request_that_never_gets_whole_loses_its_connection(num_whole: int, beginning: bytes) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(num_whole):
            writer.write(GET)
            assert (await answer(reader))[0] == 200
        writer.write(beginning)
        assert await ends(reader)

    talk(service(), hang)


@pytest.mark.usefixtures("hurry")
def test_whoever_says_nothing_at_all_loses_the_connection() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await ends(reader)

    talk(service(), hang)


@pytest.mark.usefixtures("hurry")
def test_a_head_that_comes_byte_by_byte_is_not_waited_for_any_longer() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in GET[:20]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
        assert await ends(reader)

    talk(service(), trickle)


@pytest.mark.usefixtures("hurry")
def test_an_answer_may_take_longer_than_a_head() -> None:
    gate = asyncio.Event()

    async def patient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent = json.dumps(body()).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sent)}\r\n\r\n"
        for _ in range(2):
            gate.clear()
            writer.write(head.encode() + sent)
            await asyncio.sleep(0.7)
            gate.set()
            status, told = await answer(reader)
            assert (status, json.loads(told)["model"]) == (200, MODEL)

    talk(service(ScriptedEngine(gate=gate)), patient)


@pytest.mark.usefixtures("hurry")
def test_a_client_that_reads_nothing_is_left() -> None:
    """Nothing but the socket's buffers lies between: they have to be full."""
    left = asyncio.Event()

    async def endless(
        scope: object,
        receive: Callable[[], Awaitable[dict[str, str]]],
        send: Callable[[object], Awaitable[None]],
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):  # 64 MB
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await receive()
        if (await receive())["type"] == "http.disconnect":
            left.set()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        await asyncio.wait_for(left.wait(), 5)

    talk(endless, deaf)  # type: ignore[arg-type]


def test_what_is_no_http_is_told_so_in_openais_shape() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\r\n\r\n")
        status, told = await answer(reader)
        error = {"message": "Invalid HTTP request received.", "type": "invalid_request_error"}
        assert (status, json.loads(told)) == (400, {"error": error | {"param": None, "code": None}})

    talk(service(), babble)


def test_headers_without_end_are_refused() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\n" + b"X-Y: z\r\n" * (MAX_HEAD_BYTES // 8 + 1000))
        assert (await answer(reader))[0] == 400

    talk(service(), endless)


def test_what_is_no_http_behind_an_answer_ends_the_connection_and_nothing_else() -> None:
    faults: list[object] = []

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        writer.write(b"POST /nope HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert (await answer(reader))[0] == 404
        writer.write(b"no chunk\r\n")
        assert await ends(reader)

    talk(service(), babble)
    assert faults == []
