"""One gateway on one address: bound, serving, stopped."""

import asyncio
import errno
import signal
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import uvicorn

from gateway.api.http import KEEP_ALIVE_S, MAX_HEAD_BYTES, HttpProtocol
from gateway.app import open_gateway
from gateway.settings import Settings

STOP_TIMEOUT_S = 3
"""How long clients may take to read the ends of their answers after Ctrl-C or SIGTERM."""


class AddressError(Exception):
    """The address cannot be listened on; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Server:
    """`base_url` is what clients are given; `stopped` is done once a signal has ended it."""

    base_url: str
    stopped: asyncio.Task[None]


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Server]:
    """A gateway that answers as long as the block, or until SIGINT or SIGTERM. Raises AddressError before
    anything is loaded, and whatever `open_gateway` raises; CancelledError for a SIGTERM while it loads."""
    opening = asyncio.current_task()
    assert opening
    with _listen(settings.host, settings.port) as listener:
        # For SIGINT, asyncio does the same.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, opening.cancel)
        async with open_gateway(settings) as gateway:
            config = uvicorn.Config(
                gateway.app,
                lifespan="off",
                log_config=None,
                access_log=False,
                http=HttpProtocol,
                ws="none",
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
            )
            server = _HttpServer(config)
            stopping = asyncio.Event()

            async def end() -> None:
                await stopping.wait()
                await gateway.close()
                server.should_exit = True

            def stop() -> None:
                server.force_exit = stopping.is_set()  # somebody is impatient
                stopping.set()

            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop)
            ending = asyncio.create_task(end())
            stopped = asyncio.create_task(server.serve([listener]))
            try:
                yield Server(_base_url(listener), stopped)
            finally:
                stopping.set()
                await ending
                await stopped


class _HttpServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Left to `serving`: uvicorn's own handlers would stop it before the answers under way have ended,
        and raise the signal once more afterwards."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressError(f"Port {port} of {host} is in use; choose another with --port.") from None
        raise AddressError(f"Cannot listen on {host}, port {port}: {error.strerror}.") from None
    # Inherited by what it accepts; asyncio does so only for sockets that it made itself. Without it, the end
    # of an answer waits until the beginning is acknowledged, and clients take 40 ms for that.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}/v1"
