"""Counts leases, from the hub's events and actions: their part of the families of /metrics that only grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from partage.domain import EngineId, RequestId
from partage.policy.actions import Action, GrantLease, PauseEngine, PauseReason, Refuse, ResumeEngine
from partage.policy.events import Event, LeaseAsked, LeaseEnded
from partage.watch.families import Family

WAIT_BUCKETS_S = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)


@dataclass(slots=True)
class _Open:
    class_: str
    asked_s: float
    engine: EngineId | None = None
    paused: tuple[float, PauseReason] | None = None


class LeaseMetrics:
    def __init__(self) -> None:
        self._open: dict[RequestId, _Open] = {}
        self._by_engine: dict[EngineId, _Open] = {}
        self.leases = Family(
            name="partage_leases_total",
            help="Leases that ended, by how: ended (after they were held), left (the queue), refused.",
            labels=("class", "outcome"),
        )
        self.wait = Family(
            name="partage_lease_wait_seconds",
            help="From asking for a lease to its grant.",
            labels=("class",),
            kind="histogram",
            buckets=WAIT_BUCKETS_S,
        )
        self.pauses = Family(
            name="partage_lease_pauses_total", help="Times the holder of a lease was paused.", labels=("reason",)
        )
        self.paused = Family(
            name="partage_lease_paused_seconds_total",
            help="How long holders of leases were paused.",
            labels=("reason",),
        )

    def families(self) -> list[Family]:
        return [value for value in vars(self).values() if isinstance(value, Family)]

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        match event:
            case LeaseAsked(lease=lease):
                self._open[lease.id] = _Open(lease.class_.name.lower(), at_s)
            case LeaseEnded(lease=lease):
                self._ended(lease, at_s)
            case _:
                pass
        for action in actions:
            match action:
                case GrantLease(lease=lease, engine=engine) if lease in self._open:
                    one = self._by_engine[engine] = self._open[lease]
                    one.engine = engine
                    self.wait.observe(one.class_, value=at_s - one.asked_s)
                case PauseEngine(engine=engine, reason=reason) if engine in self._by_engine:
                    self._goes_on(self._by_engine[engine], at_s)
                    self._by_engine[engine].paused = (at_s, reason)
                    self.pauses.add(reason)
                case ResumeEngine(engine=engine) if engine in self._by_engine:
                    self._goes_on(self._by_engine[engine], at_s)
                case Refuse(request=request) if request in self._open:
                    self.leases.add(self._open.pop(request).class_, "refused")
                case _:
                    pass

    def paused_s(self, now_s: float) -> dict[EngineId, float]:
        return {
            engine: now_s - one.paused[0]
            for engine, one in self._by_engine.items()
            if one.paused is not None and one.paused[1] != "hand"
        }

    def _ended(self, lease: RequestId, at_s: float) -> None:
        one = self._open.pop(lease, None)
        if one is None:
            return
        self.leases.add(one.class_, "left" if one.engine is None else "ended")
        if one.engine is not None:
            del self._by_engine[one.engine]
            self._goes_on(one, at_s)

    def _goes_on(self, one: _Open, at_s: float) -> None:
        if one.paused is not None:
            since_s, reason = one.paused
            one.paused = None
            self.paused.add(reason, by=at_s - since_s)
