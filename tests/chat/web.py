"""A web server on this machine that misbehaves as it is told."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Page:
    """`wait_s` passes before the answer, `pause_s` between every 10 bytes of it; `requests` is what came,
    `num_sent` how many bytes of the last answer have left."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    with_length: bool = True
    wait_s: float = 0
    pause_s: float = 0
    requests: list[bytes] = field(default_factory=list)
    num_sent: int = 0

    async def answer(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        await asyncio.sleep(self.wait_s)
        length = {"Content-Length": str(len(self.body))} if self.with_length else {}
        lines = [
            f"{name}: {value}" for name, value in {"Connection": "close", **length, **self.headers}.items()
        ]
        writer.write("\r\n".join([f"HTTP/1.1 {self.status} X", *lines, "", ""]).encode())
        step = 10 if self.pause_s else 65536
        for place in range(0, len(self.body), step):
            writer.write(self.body[place : place + step])
            await writer.drain()
            self.num_sent = place + step
            await asyncio.sleep(self.pause_s)


@asynccontextmanager
async def serve(pages: Mapping[str, Page]) -> AsyncIterator[str]:
    """http://address:port of a server for `pages` by path; anything else is 404."""

    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                request = await reader.readuntil(b"\r\n\r\n")
                path = request.split()[1].decode().partition("?")[0]
                await pages.get(path, Page(status=404)).answer(request, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
