"""Cards that are not as they should be."""

from collections.abc import Callable
from typing import Any

from backends.emulator import Emulator
from gateway.doctor.patient import Patient

Examined = Callable[..., Patient]
"""A patient with an open card; see conftest.py."""


class Told:
    """pyAXCL's module, but for what is said here of `axcl.rt`; None is a call that it does not have."""

    def __init__(self, emulator: Emulator, **calls: Callable[..., Any] | None) -> None:
        self.init, self.finalize, self.rt = emulator.init, emulator.finalize, _Runtime(emulator.rt, calls)


class _Runtime:
    def __init__(self, rt: Any, calls: dict[str, Callable[..., Any] | None]) -> None:
        self._rt, self._calls = rt, calls

    def __getattr__(self, name: str) -> Any:
        call = self._calls.get(name, getattr(self._rt, name))
        if call is None:
            raise AttributeError(name)
        return call
