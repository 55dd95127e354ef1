"""A process of its own for what may hang or crash: a call of a card that never returns can be ended in no
other way."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO

END_S = 5.0


@contextmanager
def aside(
    module: str, orders: object, printed: IO[bytes]
) -> Iterator[tuple[Connection, subprocess.Popen[bytes]]]:
    """`python -m MODULE FD`, which reads its orders from FD and answers there, as long as the block; what it
    and the card's libraries print goes to `printed`."""
    connection, theirs = Pipe()
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", module, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=printed,
        stderr=printed,
    )
    theirs.close()
    try:
        with suppress(BrokenPipeError):
            connection.send(orders)
        yield connection, process
    finally:
        connection.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
        process.kill()
        # One that sleeps in the driver cannot be ended by anybody; it is left behind.
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
