"""`gateway.engine.worker` on an emulated card that breaks as it was planned (see faults.py). To be run in its
place, as `python -m tests.engine.faulty_worker FD`."""

import json
import os
import signal
import sys
from pathlib import Path
from threading import Event
from typing import Any, Literal, NamedTuple

import backends.axcl.backend
from backends.emulator import Emulator, Runtime
from gateway.engine import worker

PLAN = "AXGATE_TEST_FAULTS"  # the folder with the plan, and a file for each worker that began
At = Literal["load", "encode", "prefill", "decode", "head"]
What = Literal["die", "hang", "card dies", "fail"]


class Fault(NamedTuple):
    """`what` happens in the nth run of a graph of the kind `at`, or at the nth graph to be loaded."""

    at: At
    nth: int
    what: What


class FaultyRuntime(Runtime):
    """Counts what it is asked to do by kind, and breaks in the midst of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._names: dict[int, str] = {}
        self._counts: dict[str, int] = {}
        self._faults = _this_life()

    def engine_load_from_file(self, model_path: str) -> tuple[int, int]:
        self._count("load", "engine_load_from_file")
        model_id, ret = super().engine_load_from_file(model_path)
        self._names[model_id] = Path(model_path).name
        return model_id, ret

    def engine_execute(self, model_id: int, context_id: int, group: int, io: int) -> int:
        self._count(_kind(self._names[model_id], group), "engine_execute")
        return super().engine_execute(model_id, context_id, group, io)

    def _count(self, kind: str, call: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        for fault in self._faults:
            if (fault.at, fault.nth) == (kind, self._counts[kind]):
                self._happen(fault, call)

    def _happen(self, fault: Fault, call: str) -> None:
        match fault.what:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                Event().wait()
            case "card dies":
                self._process.faults.kill_card()
            case "fail":
                self._process.faults.fail(call, 0x8030070C)


class FaultyEmulator(Emulator):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rt = FaultyRuntime(self._process)


def _this_life() -> list[Fault]:
    folder = Path(os.environ[PLAN])
    lives = json.loads((folder / "lives.json").read_text())
    number = len(list(folder.glob("life *")))
    (folder / f"life {number}").touch()
    return [Fault(*fault) for fault in lives[number]] if number < len(lives) else []


def _kind(name: str, group: int) -> str:
    if "vision" in name:
        return "encode"
    if "post" in name:
        return "head"
    return "prefill" if group else "decode"


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    vars(backends.axcl.backend)["Emulator"] = FaultyEmulator
    worker.main(int(sys.argv[1]))
