"""Requests on their way through workers that may die: what each was told so far, and how often a worker died
of it.

Whoever was in flight when a worker died is sent to the next one, with the tokens that it had. The one that
the worker was working on may be what it died of: after the third time without a token in between it fails,
and the others go on.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from gateway.engine.prompt import Output, Request
from gateway.errors import EngineFailure, GatewayError

MAX_DEATHS = 3


class Flight:
    """One request. `results` is what its client has still to read; `sent` to the worker there is now;
    `num_deaths` counts workers that died while they worked on it, since its last token."""

    def __init__(self, request: Request) -> None:
        self.results: asyncio.Queue[Output | GatewayError] = asyncio.Queue()
        self.sent = False
        self.ended = False
        self.num_deaths = 0
        self._request = request
        self._token_ids: list[int] = []
        self._num_cached: int | None = None

    @property
    def id(self) -> str:
        return self._request.id

    @property
    def request(self) -> Request:
        """What another worker has to be told to go on with it."""
        return replace(self._request, begun=tuple(self._token_ids))

    @property
    def working(self) -> bool:
        return self.sent and not self.ended

    def tell(self, result: Output | GatewayError) -> None:
        if isinstance(result, Output):
            self.num_deaths = 0
            if self._num_cached is None:
                self._num_cached = result.cached_tokens
            if result.token_id is not None:
                self._token_ids.append(result.token_id)
            result = replace(result, cached_tokens=self._num_cached)
            self.ended = result.finish_reason is not None
        else:
            self.ended = True
        self.results.put_nowait(result)


class Flights:
    """All of one engine, in the order they came."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def working(self) -> bool:
        """Whether the worker owes anything to anybody."""
        return any(flight.working for flight in self._flights.values())

    def add(self, request: Request) -> Flight:
        flight = self._flights[request.id] = Flight(request)
        return flight

    def remove(self, flight: Flight) -> None:
        del self._flights[flight.id]

    def tell(self, request_id: str, result: Output | GatewayError) -> None:
        """One that left, or knows its end, is told nothing."""
        flight = self._flights.get(request_id)
        if flight and not flight.ended:
            flight.tell(result)

    def take(self) -> Sequence[Flight]:
        """Those to be sent now, which count as sent."""
        taken = [flight for flight in self._flights.values() if not flight.sent and not flight.ended]
        for flight in taken:
            flight.sent = True
        return taken

    def lose(self, request_id: str | None, reason: str) -> None:
        """The worker is gone that had them all, and that was working on this one."""
        for flight in self._flights.values():
            if not flight.working:
                continue
            flight.sent = False
            flight.num_deaths += flight.id == request_id
            if flight.num_deaths >= MAX_DEATHS:
                flight.tell(
                    EngineFailure(
                        f"The engine stopped {MAX_DEATHS} times while it worked on this request, at last "
                        f"with: {reason}. The request is not tried again."
                    )
                )

    def fail(self, error: GatewayError) -> None:
        """All that wait for anything are told."""
        for flight in self._flights.values():
            if not flight.ended:
                flight.tell(error)
