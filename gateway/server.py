"""One gateway on one address: bound, serving, stopped."""

import asyncio
import errno
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn

from gateway.app import open_gateway
from gateway.settings import Settings

STOP_TIMEOUT_S = 10
"""How long answers under way may take to end after Ctrl-C or SIGTERM; streams are ended at once."""


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
    anything is loaded, and whatever `open_gateway` raises."""
    with _listen(settings.host, settings.port) as listener:
        async with open_gateway(settings) as app:
            config = uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
            )
            server = uvicorn.Server(config)

            def stop() -> None:
                server.should_exit = True

            # uvicorn raises the signal once more when it has stopped, which would kill the process before the
            # engine is closed; with a handler of our own underneath, that does nothing.
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, stop)
            stopped = asyncio.create_task(server.serve([listener]))
            try:
                yield Server(_base_url(listener), stopped)
            finally:
                stop()
                await stopped


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressError(f"Port {port} of {host} is in use; choose another with --port.") from None
        raise AddressError(f"Cannot listen on {host}, port {port}: {error.strerror}.") from None


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}/v1"
