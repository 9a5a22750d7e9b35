"""Lets a bench see how long engines of a live hub were paused, and turn the pausing off to compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from partage.domain import Client
from partage.errors import PartageError
from partage.hub.hub import Hub
from partage.policy.actions import Action, PauseEngine, ResumeEngine
from partage.policy.events import DeviceSeen, Event


class Pauses:
    """An observer of the hub."""

    def __init__(self) -> None:
        self.count = 0
        self.longest_s = 0.0
        self.paused_s: dict[str, float] = {}
        """By engine (a lease has one, too), those that are over."""
        self._since_s: dict[str, float] = {}

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, PauseEngine):
                self.count += 1
                self._since_s[action.engine] = at_s
            elif isinstance(action, ResumeEngine):
                took_s = at_s - self._since_s.pop(action.engine)
                self.longest_s = max(self.longest_s, took_s)
                self.paused_s[action.engine] = self.paused_s.get(action.engine, 0.0) + took_s

    def refused(self, client: Client, model: str, error: PartageError) -> None:
        """Nothing to count."""

    def route(self, hub: Hub) -> Route:
        """GET: what was seen; with ?on=0 engines compute beside each other from now on, with ?on=1 in turn again."""

        async def answer(request: Request) -> JSONResponse:
            if "on" in request.query_params:
                on = request.query_params["on"] == "1"
                for device in hub.devices:
                    hub.post(DeviceSeen(replace(device, contended=on)))
            bound_s = hub.scheduler.pause_bound_s()
            seen = {"count": self.count, "longest_s": self.longest_s, "bound_s": bound_s}
            return JSONResponse(seen | {"paused_s": self.paused_s})

        return Route("/bench/pauses", answer)
