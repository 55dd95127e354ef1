"""The command line of these tests."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str


Here = Callable[..., Done]


def sentence(done: Done) -> str:
    assert done.status == 2
    assert done.out == ""
    (told,) = done.err.splitlines()
    return told
