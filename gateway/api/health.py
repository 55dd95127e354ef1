"""Whether there is somebody to answer."""

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backends.axcl.monitor import Monitor
from gateway.engine.fleet import Fleet
from gateway.errors import EngineRestarting

HURT = ("restarting", "broken")
"""States of an engine whose worker died and has no successor yet."""

READY_RETRY_S = 2.0
"""When to ask again whether the engine is back: it takes about that long to start."""


class Health:
    """GET /health: 200 as long as there is somebody to answer, with what the engines are doing, what is
    broken, and how the card is as far as it told.
    GET /ready: 200 while generations are taken, else 503."""

    def __init__(self, fleet: Fleet, monitor: Monitor | None) -> None:
        self._fleet = fleet
        self._monitor = monitor

    async def live(self, request: Request) -> Response:
        engines = {name: asdict(status) for name, status in self._fleet.status.items()}
        hurt = any(engine["state"] in HURT for engine in engines.values())
        told = {"status": "degraded" if hurt else "ok", "engines": engines}
        if self._monitor is None:
            return JSONResponse(told)
        idle = not any(engine["num_requests"] for engine in engines.values())
        vitals = asdict(self._monitor.vitals(idle=idle))
        return JSONResponse(told | {"card": vitals | {"age_s": self._monitor.age_s}})

    async def ready(self, request: Request) -> Response:
        """A model that is not loaded would be, so it counts, but not against one whose worker just died."""
        states = {name: status.state for name, status in self._fleet.status.items()}
        found = set(states.values())
        if not found & {"ready", "loading"} and found & {*HURT, "closed"}:
            told = ", ".join(f"{name} is {state}" for name, state in states.items())
            raise EngineRestarting(f"No model is ready: {told}.", retry_after_s=READY_RETRY_S)
        return JSONResponse({"status": "ready", "models": states})
