"""Remembers which model was in memory when, and why it came and went: for people who look at the last hour."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from partage.domain import Client, DeviceId, EngineId, JsonObject
from partage.errors import PartageError
from partage.policy.actions import Action, StartEngine, StopEngine, UnparkEngine
from partage.policy.events import EngineFailed, EngineGone, EngineParked, EngineReady, EngineUnparked, Event

KEPT = 500
"""Stays that are over. A hub that swaps every seven seconds fills them in an hour."""
KEPT_S = 3600.0


@dataclass(slots=True)
class Stay:
    """One engine's time in memory, in seconds on the hub's clock."""

    engine: EngineId
    model: str
    devices: tuple[tuple[DeviceId, int], ...]
    """Bytes as promised at the start."""
    came: str
    """Why it was started."""
    started_s: float
    ready_s: float | None = None
    stopping_s: float | None = None
    ended_s: float | None = None
    left: str = ""
    """Why it was stopped, or what ended it."""
    failed: bool = False


class Stays:
    """Satisfies hub.Observer."""

    def __init__(self) -> None:
        self._now: dict[EngineId, Stay] = {}
        self._over: deque[Stay] = deque(maxlen=KEPT)
        self._parked: dict[EngineId, Stay] = {}
        """The last stay of engines that are in RAM now."""

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        match event:
            case EngineReady(engine=engine) if engine in self._now:
                self._now[engine].ready_s = at_s
            case EngineUnparked(engine=engine) if engine in self._now:
                self._now[engine].ready_s = at_s
            case EngineParked(engine=engine) if engine in self._now:
                self._parked[engine] = self._now[engine]
                self._end(engine, at_s, "moved to RAM", failed=False)
            case EngineFailed(engine=engine, reason=reason):
                self._end(engine, at_s, reason, failed=True)
            case EngineGone(engine=engine, crashed=crashed):
                self._parked.pop(engine, None)
                self._end(engine, at_s, "it crashed" if crashed else "", failed=crashed)
            case _:
                pass
        for action in actions:
            if isinstance(action, StartEngine):
                devices = tuple((device, share.total_bytes) for device, share in action.placement.shares)
                self._now[action.engine] = Stay(action.engine, action.model, devices, action.reason, at_s)
            elif isinstance(action, UnparkEngine) and action.engine in self._parked:
                was = self._parked.pop(action.engine)
                self._now[action.engine] = Stay(was.engine, was.model, was.devices, "back from RAM", at_s)
            elif isinstance(action, StopEngine) and action.engine in self._now:
                stay = self._now[action.engine]
                stay.stopping_s, stay.left = at_s, action.reason

    def refused(self, client: Client, model: str, error: PartageError) -> None:
        """Nothing came and nothing went."""

    def to_json(self, now_s: float) -> list[JsonObject]:
        """The last hour's stays in the order they ended, then those that last."""
        recent = [stay for stay in self._over if (stay.ended_s or 0.0) > now_s - KEPT_S]
        return [
            {
                "engine": stay.engine,
                "model": stay.model,
                "devices": dict(stay.devices),
                "came": stay.came,
                "started_s": stay.started_s,
                "ready_s": stay.ready_s,
                "stopping_s": stay.stopping_s,
                "ended_s": stay.ended_s,
                "left": stay.left,
                "failed": stay.failed,
            }
            for stay in (*recent, *self._now.values())
        ]

    def _end(self, engine: EngineId, at_s: float, why: str, *, failed: bool) -> None:
        stay = self._now.pop(engine, None)
        if stay is not None:
            stay.ended_s, stay.left, stay.failed = at_s, stay.left or why, failed and stay.stopping_s is None
            self._over.append(stay)
