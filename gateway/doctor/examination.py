"""All checks, made in another process, with a deadline for each: whatever happens there, this one goes on."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from tempfile import TemporaryFile

from gateway.aside import aside
from gateway.doctor.checks import CHECKS, Check
from gateway.doctor.finding import Finding, failed, skipped
from gateway.doctor.messages import Begun, Done
from gateway.doctor.patient import Orders

CHILD = "gateway.doctor.child"
START_S = 60.0
MAX_SAID = 8192  # bytes of what the card's libraries print
STUCK = (
    "The call never came back and was ended from outside. If it hangs again: axcl-smi reboot, then "
    "modprobe -r axcl_host && modprobe axcl_host, then a power cycle. See `sleep`, `cma`, `kernel_log`."
)
CRASHED = (
    "The card's library has crashed. Versions that do not match do that: see `versions` and `libraries`."
)


@dataclass(frozen=True, slots=True)
class Checked:
    check: Check
    finding: Finding
    seconds: float


@dataclass(frozen=True, slots=True)
class Examination:
    """`said` is the end of what libraries printed meanwhile."""

    checked: tuple[Checked, ...]
    said: str

    @property
    def passed(self) -> bool:
        return all(each.finding.status != "failed" for each in self.checked)


def examine(orders: Orders, told: Callable[[Checked], None], max_wait_s: float = float("inf")) -> Examination:
    """`told` gets each check as soon as it is made. None takes longer than its deadline and `max_wait_s`."""
    checked = []
    with TemporaryFile() as printed:
        with aside(CHILD, orders, printed) as (connection, process):
            for each in _follow(connection, process, max_wait_s):
                checked.append(each)
                told(each)
        printed.seek(0)
        said = printed.read()[-MAX_SAID:].decode(errors="replace").strip()
    return Examination(tuple(checked), said)


def _follow(connection: Connection, process: subprocess.Popen[bytes], max_wait_s: float) -> Iterator[Checked]:
    """Every check once, in order."""
    culprit = None
    for check in CHECKS:
        if culprit:
            yield Checked(check, skipped(f"the card did not come back from `{culprit}`"), 0.0)
            continue
        answer = _answer(connection, min(check.deadline_s, max_wait_s))
        if isinstance(answer, Done):
            yield Checked(check, answer.finding, answer.seconds)
            continue
        culprit = check.name
        yield Checked(check, answer or _end(process), 0.0)
        process.kill()


def _answer(connection: Connection, deadline_s: float) -> Done | Finding | None:
    """What the check that is due found, that it hangs, or None where the process has ended."""
    try:
        if not connection.poll(START_S):
            return failed(f"the process did not start within {START_S:g} s", STUCK)
        begun = connection.recv()
        assert isinstance(begun, Begun)
        if not connection.poll(deadline_s):
            return failed(f"hung in `{begun.name}`: no answer within {deadline_s:g} s", STUCK)
        done = connection.recv()
        assert isinstance(done, Done)
    except (EOFError, ConnectionError):
        return None
    return done


def _end(process: subprocess.Popen[bytes]) -> Finding:
    try:
        status = process.wait(START_S)  # a large process takes long to dump its core
    except subprocess.TimeoutExpired:
        return failed("the process says nothing any more", CRASHED)
    told = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    return failed(f"the process ended with {told}", CRASHED)
