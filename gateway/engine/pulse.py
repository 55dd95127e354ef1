"""What the worker says of itself between device calls: what it is about to do, and that it lives."""

from collections.abc import Sequence
from multiprocessing.connection import Connection
from time import monotonic

from gateway.engine.engine import Engine, Failed
from gateway.engine.generation import Work, WorkKind
from gateway.engine.messages import Results, Working
from gateway.engine.prompt import Output

HEARTBEAT_S = 1.0  # a step without results says nothing; this often something is said all the same


class Pulse:
    """`begin` and `end` enclose the work of a step. What is done is said only where it is another thing than
    before, or took longer than ever: tokens follow each other fast."""

    def __init__(self, connection: Connection, engine: Engine) -> None:
        self._connection = connection
        self._engine = engine
        self._longest: dict[WorkKind, float] = {}
        self._told: Working | None = None
        self._kind: WorkKind | None = None
        self._began_s = self._heard_s = monotonic()

    def begin(self, work: Work) -> None:
        working = Working(work.kind, work.generation.id, self._longest.get(work.kind))
        if working != self._told:
            self._connection.send(working)
            self._told = working
        self._kind, self._began_s = work.kind, monotonic()

    def end(self, results: Sequence[Output | Failed]) -> None:
        now_s = monotonic()
        if self._kind:
            self._longest[self._kind] = max(self._longest.get(self._kind, 0.0), now_s - self._began_s)
            self._kind = None
        if results or now_s > self._heard_s + HEARTBEAT_S:
            self._connection.send(Results(tuple(results), self._engine.stats))
            self._heard_s = now_s
