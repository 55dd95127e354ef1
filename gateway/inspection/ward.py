"""Has the report made by another process, which is ended where a card keeps it waiting."""

import signal
import subprocess
from multiprocessing.connection import Connection
from tempfile import TemporaryFile
from typing import IO

from gateway.aside import END_S, aside
from gateway.inspection.messages import Begun, Orders
from gateway.inspection.report import Report

CHILD = "gateway.inspection.child"
START_S = 60.0
MAX_SAID = 8192  # bytes of what libraries print
STUCK = (
    "the process that uses the device was ended. `axgate doctor` looks for the cause; if it hangs again: "
    "axcl-smi reboot"
)


def report_of(orders: Orders, max_wait_s: float = float("inf")) -> Report:
    """Raises what making the report raises, TimeoutError where a part of it takes longer than it may or than
    `max_wait_s`, and ChildProcessError where the process dies."""
    with TemporaryFile() as printed, aside(CHILD, orders, printed) as (connection, process):
        begun = Begun("starting", START_S)
        while True:
            try:
                answer = _answer(connection, min(begun.deadline_s, max_wait_s))
            except TimeoutError as reason:
                process.kill()
                raise TimeoutError(f"{begun.work}: {reason}; {STUCK}") from None
            except (EOFError, ConnectionError):
                told = f"the process that uses the device ended ({_end(process, printed)})"
                raise ChildProcessError(f"{begun.work}: {told}") from None
            if isinstance(answer, Exception):
                raise answer
            if not isinstance(answer, Begun):
                return answer
            begun = answer


def _answer(connection: Connection, deadline_s: float) -> Begun | Report | Exception:
    if not connection.poll(deadline_s):
        raise TimeoutError(f"no answer within {deadline_s:g} s")
    answer: Begun | Report | Exception = connection.recv()
    return answer


def _end(process: subprocess.Popen[bytes], printed: IO[bytes]) -> str:
    """How it ended: a signal, or what it said last."""
    try:
        status = process.wait(END_S)
    except subprocess.TimeoutExpired:
        return "it does not say how"
    if status < 0:
        return f"signal {signal.Signals(-status).name}"
    printed.seek(0)
    said = printed.read()[-MAX_SAID:].decode(errors="replace").strip().splitlines()
    return said[-1] if said else f"status {status}"
