"""Remembers which model and which lease was in memory when, why it came, stood still and went: for people to look at."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from partage.domain import Client, DeviceId, EngineId, RequestId
from partage.errors import PartageError
from partage.json_value import JsonObject, JsonValue
from partage.policy.actions import (
    Action,
    GrantLease,
    PauseEngine,
    PauseReason,
    ResumeEngine,
    StartEngine,
    StopEngine,
    UnparkEngine,
)
from partage.policy.events import EngineFailed, EngineGone, EngineParked, EngineReady, EngineUnparked, Event, LeaseEnded

KEPT = 500
"""Stays that are over. A hub that swaps every seven seconds fills them in an hour."""
KEPT_S = 3600.0
PAUSES_KEPT = 20
"""Of each stay, the last."""
SHORTEST_PAUSE_S = 1.0
"""Turns at the cores come four times a second: nobody could see them in an hour."""


@dataclass(slots=True)
class Pause:
    reason: PauseReason
    from_s: float
    to_s: float | None = None


@dataclass(slots=True)
class Stay:
    """One engine's time in memory, in seconds on the hub's clock."""

    engine: EngineId
    model: str
    """For a lease, its id."""
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
    lease: bool = False
    pauses: deque[Pause] = field(default_factory=lambda: deque[Pause](maxlen=PAUSES_KEPT))
    """Those that lasted, and the one that lasts."""


class Stays:
    """Satisfies ports.Observer."""

    def __init__(self) -> None:
        self._now: dict[EngineId, Stay] = {}
        self._over: deque[Stay] = deque(maxlen=KEPT)
        self._parked: dict[EngineId, Stay] = {}
        """The last stay of engines that are in RAM now."""
        self._leases: dict[RequestId, EngineId] = {}
        """Those that are held."""

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        self._happened(at_s, event)
        for action in actions:
            self._ordered(at_s, action)

    def _happened(self, at_s: float, event: Event) -> None:
        match event:
            case EngineReady(engine=engine) | EngineUnparked(engine=engine) if engine in self._now:
                self._now[engine].ready_s = at_s
            case EngineParked(engine=engine) if engine in self._now:
                self._parked[engine] = self._now[engine]
                self._end(engine, at_s, "moved to RAM", failed=False)
            case EngineFailed(engine=engine, reason=reason):
                self._end(engine, at_s, reason, failed=True)
            case EngineGone(engine=engine, crashed=crashed):
                self._parked.pop(engine, None)
                self._end(engine, at_s, "it crashed" if crashed else "", failed=crashed)
            case LeaseEnded(lease=lease) if lease in self._leases:
                self._end(self._leases.pop(lease), at_s, "it ended", failed=False)
            case _:
                pass

    def _ordered(self, at_s: float, action: Action) -> None:
        match action:
            case StartEngine(engine=engine):
                devices = tuple((device, share.total_bytes) for device, share in action.placement.shares)
                self._now[engine] = Stay(engine, action.model, devices, action.reason, at_s)
            case UnparkEngine(engine=engine) if engine in self._parked:
                was = self._parked.pop(engine)
                self._now[engine] = Stay(was.engine, was.model, was.devices, "back from RAM", at_s)
            case StopEngine(engine=engine) if engine in self._now:
                stay = self._now[engine]
                stay.stopping_s, stay.left = at_s, action.reason
            case GrantLease(engine=engine):
                self._leases[action.lease] = engine
                devices = ((action.device, action.bytes_),)
                self._now[engine] = Stay(engine, action.lease, devices, "a lease", at_s, ready_s=at_s, lease=True)
            case PauseEngine(engine=engine) if engine in self._now:
                self._goes_on(engine, at_s)
                self._now[engine].pauses.append(Pause(action.reason, at_s))
            case ResumeEngine(engine=engine):
                self._goes_on(engine, at_s)
            case _:
                pass

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
                "lease": stay.lease,
                "pauses": [*_pauses(stay, now_s)],
            }
            for stay in (*recent, *self._now.values())
        ]

    def _goes_on(self, engine: EngineId, at_s: float) -> None:
        stay = self._now.get(engine)
        if stay is None or not stay.pauses or stay.pauses[-1].to_s is not None:
            return
        stay.pauses[-1].to_s = at_s
        if at_s - stay.pauses[-1].from_s < SHORTEST_PAUSE_S:
            stay.pauses.pop()

    def _end(self, engine: EngineId, at_s: float, why: str, *, failed: bool) -> None:
        self._goes_on(engine, at_s)
        stay = self._now.pop(engine, None)
        if stay is not None:
            stay.ended_s, stay.left, stay.failed = at_s, stay.left or why, failed and stay.stopping_s is None
            self._over.append(stay)


def _pauses(stay: Stay, now_s: float) -> Iterator[JsonValue]:
    for pause in stay.pauses:
        if pause.to_s is not None or now_s - pause.from_s >= SHORTEST_PAUSE_S:
            yield {"reason": pause.reason, "from_s": pause.from_s, "to_s": pause.to_s}
