"""How pyAXCL (V2.25.0 to V3.10.2) takes arguments and gives answers: nothing is raised, `ret` comes last."""

import functools
import operator
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from backends.emulator.process import Process
from backends.emulator.refused import BINDING, Refused

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound="Calls")


class Calls:
    """A part of `axcl.rt`, spoken by one emulated process."""

    def __init__(self, process: Process) -> None:
        self._process = process


def answers(
    refusal: Callable[[int], R],
) -> Callable[[Callable[Concatenate[C, P], R]], Callable[Concatenate[C, P], R]]:
    """Make a body that raises Refused into a call that answers `refusal(ret)` instead."""

    def decorate(body: Callable[Concatenate[C, P], R]) -> Callable[Concatenate[C, P], R]:
        name = body.__name__

        @functools.wraps(body)
        def call(self: C, /, *args: P.args, **kwargs: P.kwargs) -> R:
            try:
                self._process.enter(name)
                return body(self, *args, **kwargs)
            except Refused as refused:
                return refusal(refused.ret)
            finally:
                self._process.clock.answer()

        return call

    return decorate


# What pyAXCL returns of a call that failed; `ret` is signed.


def ret_only(ret: int) -> int:
    return ret


def no_pointer(ret: int) -> tuple[int | None, int]:
    return None, ret


def zero(ret: int) -> tuple[int, int]:
    return 0, ret


def no_list(ret: int) -> tuple[list[int], int]:
    return [], ret


def no_buffer(ret: int) -> tuple[int | None, int, int]:
    return None, 0, ret


def no_usage(ret: int) -> tuple[int, int, int]:
    return 0, 0, ret


def count_or_code(ret: int) -> int:
    """0 for a null argument; a code of the library itself arrives as a huge unsigned number."""
    return 0 if ret == -1 else ret & 0xFFFF_FFFF


def size_or_code(ret: int) -> int:
    """As `count_or_code`, in 64 bits."""
    return 0 if ret == -1 else ret & 0xFFFF_FFFF_FFFF_FFFF


def no_name(_ret: int) -> str | None:
    return None


def no_text(_ret: int) -> str:
    return ""


# What ctypes makes of an argument. Where it raises, or pyAXCL skips the call, the answer is -1.


def pointer(value: object) -> int:
    """An address or a handle: a Python int that is not 0. A numpy integer is refused."""
    if not value:
        raise Refused(BINDING)
    return nullable_pointer(value)


def nullable_pointer(value: object) -> int:
    """As `pointer`, where pyAXCL hands 0 and None on to the library."""
    if value is None:
        return 0
    if not isinstance(value, int):
        raise Refused(BINDING)
    return value & 0xFFFF_FFFF_FFFF_FFFF


def unsigned(value: object, bits: int) -> int:
    """A number cut to `bits`, without a word about it; numpy integers are welcome."""
    try:
        return operator.index(value) & ((1 << bits) - 1)  # type: ignore[arg-type]
    except TypeError:
        raise Refused(BINDING) from None


def text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Refused(BINDING)
    return value
