"""Where the processor time of this process goes, by line of Python.

Each thread has a timer on its own processor time, and each timer a signal of its own, so that a thread is
looked at only while it runs. What it took since the last look is put down to the line that it is at, and what
that line calls in C is the line's. The main thread does the looking. It is let in at once, but a thread of a
pool may be done by then: what it took counts when it is next seen at work.
"""

import concurrent.futures.thread
import ctypes
import json
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

INTERVAL_NS = 1_000_000  # or a tick of the kernel, where that is longer
SWITCH_S = 20e-6
ROOT = Path(__file__).parents[1]
WAITING = concurrent.futures.thread._worker.__code__
OTHERS = "others"

Spent = Counter[str]
"""Nanoseconds by line, which is told as file:function:number."""


class _Event(ctypes.Structure):
    """struct sigevent: a signal to the process."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("padding", ctypes.c_char * 48),
    )


class _Times(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns"))


class Profile:
    """SIGUSR1 begins, and the next one ends it and writes what was spent to `path`. Linux."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spent = Spent()
        self._timers: list[ctypes.c_void_p] = []
        self._seen: dict[int, int] = {}
        self._began = 0
        self._switch_s = sys.getswitchinterval()
        signal.signal(signal.SIGUSR1, self._turn)

    def _turn(self, number: int, frame: FrameType | None) -> None:
        if self._began:
            self._end()
        else:
            self._begin()

    def _begin(self) -> None:
        sys.setswitchinterval(SWITCH_S)
        # The event loop's pipe may be full of other things that woke it.
        signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)
        self._spent.clear()
        self._began = time.process_time_ns()
        threads = [thread.ident for thread in threading.enumerate() if thread.ident]
        for number, thread in enumerate(threads, signal.SIGRTMIN):
            self._seen[thread] = spent_ns(thread)
            signal.signal(number, partial(self._look, thread))
            self._timers.append(_timer(time.pthread_getcpuclockid(thread), number))

    def _look(self, thread: int, number: int, frame: FrameType | None) -> None:
        at = frame if thread == threading.get_ident() else sys._current_frames().get(thread)
        if at is None or at.f_code is WAITING:
            return
        now = spent_ns(thread)
        self._spent[f"{at.f_code.co_filename}:{at.f_code.co_qualname}:{at.f_lineno}"] += (
            now - self._seen[thread]
        )
        self._seen[thread] = now

    def _end(self) -> None:
        for timer in self._timers:
            LIBRARY.timer_delete(timer)
        self._timers.clear()
        sys.setswitchinterval(self._switch_s)
        self._spent[OTHERS] = max(0, time.process_time_ns() - self._began - self._spent.total())
        self._began = 0
        whole = self._path.with_suffix(".new")
        whole.write_text(json.dumps(self._spent))
        os.replace(whole, self._path)


LIBRARY = ctypes.CDLL(None, use_errno=True)


def _timer(clock: int, number: int) -> ctypes.c_void_p:
    """One that sends that signal again and again."""
    timer, event = ctypes.c_void_p(), _Event(number=number)
    times = _Times(every_ns=INTERVAL_NS, first_ns=INTERVAL_NS)
    if LIBRARY.timer_create(clock, ctypes.byref(event), ctypes.byref(timer)) or LIBRARY.timer_settime(
        timer, 0, ctypes.byref(times), None
    ):
        raise OSError(ctypes.get_errno(), "no timer")
    return timer


def spent_ns(thread: int) -> int:
    """Processor time of it so far."""
    return time.clock_gettime_ns(time.pthread_getcpuclockid(thread))


def whose(line: str) -> str:
    """The package that a line is of: `axgate`, a library, or of Python's own the module."""
    file = line.split(":")[0]
    if file.startswith((f"{ROOT}/gateway/", f"{ROOT}/backends/", "<string>")):  # methods of dataclasses
        return "axgate"
    if file.startswith(f"{ROOT}/bench/"):
        return "profile"
    if found := re.search(r"lib/python3\.\d+/(?:site-packages/)?([^/.]+)", file):
        return found[1]
    return "jinja2" if file == "<template>" else file


def ours(line: str) -> str:
    """The line, from the root of the repository, or nothing where it is not of ours."""
    return line.removeprefix(f"{ROOT}/") if whose(line) == "axgate" else ""


def shares(spent: Spent, key: Callable[[str], str]) -> dict[str, float]:
    """The largest first, without what the profile itself takes."""
    by: Counter[str] = Counter()
    for line, ns in spent.items():
        if whose(line) != "profile":
            by[key(line)] += ns
    return {name: ns / by.total() for name, ns in by.most_common()}
