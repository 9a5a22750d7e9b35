"""Counts what the hub does, from its events and actions: the families of /metrics that only grow (docs/metrics.md)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from partage.domain import Client, EngineId, RequestId
from partage.errors import PartageError
from partage.policy.actions import (
    Action,
    PauseEngine,
    PauseReason,
    Refuse,
    ResumeEngine,
    Serve,
    StartEngine,
    StopEngine,
)
from partage.policy.events import (
    Demand,
    EngineFailed,
    EngineGone,
    EngineParked,
    EngineParkFailed,
    EngineReady,
    EngineUnparked,
    Event,
    ModelLearned,
    RequestArrived,
    RequestFinished,
    RequestRequeued,
)
from partage.watch.families import Family
from partage.watch.lease_metrics import LeaseMetrics

OTHER = "other"
RECENT_DEADLINES = 2000
MOST_NAMES = 500
"""Label values per kind; a name more is counted as OTHER."""
WAIT_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0)
TOKEN_BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)
LOAD_BUCKETS_S = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(slots=True)
class _Open:
    client: str
    model: str
    class_: str
    arrived_s: float
    deadline_at_s: float | None
    load_only: bool
    served: bool = False


class Metrics:
    """An observer of the hub. Who is not configured (or known by its container's label) is counted as "other"."""

    def __init__(self, clients: Iterable[str]) -> None:
        self._clients = set(clients)
        self._models: set[str] = set()
        self._open: dict[RequestId, _Open] = {}
        self._engines: dict[EngineId, str] = {}
        self._paused: dict[EngineId, tuple[float, PauseReason]] = {}
        self.recent_deadlines: deque[tuple[float, str, bool]] = deque(maxlen=RECENT_DEADLINES)
        """(when, client, missed), the last ones."""
        pair = ("client", "model")
        self.requests = Family(
            name="partage_requests_total",
            help="Requests that ended, by how: done, failed, cancelled (the client left), refused.",
            labels=(*pair, "outcome"),
        )
        self.refusals = Family(
            name="partage_refusals_total",
            help="Requests refused, before or after they waited, by the error they got.",
            labels=("client", "reason"),
        )
        self.prompt_tokens = Family(
            name="partage_prompt_tokens_total", help="Prompt tokens, cached ones included.", labels=("client",)
        )
        self.cached_tokens = Family(
            name="partage_prompt_tokens_cached_total",
            help="Prompt tokens found in the KV cache.",
            labels=("client",),
        )
        self.output_tokens = Family(name="partage_output_tokens_total", help="Tokens generated.", labels=pair)
        self.deadlines = Family(
            name="partage_deadlines_total", help="Requests with a deadline that were answered or refused.", labels=pair
        )
        self.deadline_misses = Family(
            name="partage_deadline_misses_total",
            help="Requests answered after their deadline, or refused because it could not be met.",
            labels=pair,
        )
        self.requeues = Family(
            name="partage_requeues_total",
            help="Requests that waited again because the engine died before their client had a piece of the answer.",
            labels=("model",),
        )
        self.queue_wait = Family(
            name="partage_queue_wait_seconds",
            help="From arrival until the request got a slot, the load included.",
            labels=("class", "model"),
            kind="histogram",
            buckets=WAIT_BUCKETS_S,
        )
        self.first_output = Family(
            name="partage_time_to_first_token_seconds",
            help="From arrival to the first piece of the answer.",
            labels=("class", "model"),
            kind="histogram",
            buckets=WAIT_BUCKETS_S,
        )
        self.token_time = Family(
            name="partage_time_per_output_token_seconds",
            help="Mean time of one generated token, one observation per answer.",
            labels=("model",),
            kind="histogram",
            buckets=TOKEN_BUCKETS_S,
        )
        self.service = Family(
            name="partage_service_seconds",
            help="From the slot to the end of the answer.",
            labels=("model",),
            kind="histogram",
            buckets=WAIT_BUCKETS_S,
        )
        self.loads = Family(
            name="partage_loads_total",
            help="Starts of a model's engine, by outcome: ready, failed, out_of_memory.",
            labels=("model", "outcome"),
        )
        self.load_time = Family(
            name="partage_load_seconds",
            help="From the order to load until the model could serve.",
            labels=("model",),
            kind="histogram",
            buckets=LOAD_BUCKETS_S,
        )
        self.parks = Family(
            name="partage_parks_total",
            help="Engines whose device memory was moved to RAM instead of being stopped, by outcome: parked, failed.",
            labels=("model", "outcome"),
        )
        self.park_time = Family(
            name="partage_park_seconds",
            help="Moving an engine's device memory, by way: park (to RAM), unpark (back).",
            labels=("model", "way"),
            kind="histogram",
            buckets=LOAD_BUCKETS_S,
        )
        self.stops = Family(
            name="partage_unloads_total",
            help="Models that left memory, by cause: evicted (for another), idle (keep-alive), asked, crashed.",
            labels=("model", "cause"),
        )
        self.pauses = Family(
            name="partage_engine_pauses_total",
            help="Times an engine was paused while it served, for: urgent work, a turn or a guaranteed share of others, or by hand.",
            labels=("model", "reason"),
        )
        self.paused = Family(
            name="partage_engine_paused_seconds_total",
            help="How long engines were paused while they served, by what for.",
            labels=("model", "reason"),
        )
        self.leases = LeaseMetrics()

    def families(self) -> list[Family]:
        return [*(value for value in vars(self).values() if isinstance(value, Family)), *self.leases.families()]

    def know_clients(self, names: Iterable[str]) -> None:
        """More clients that get a label value of their own: those that containers' labels name."""
        for name in names:
            if len(self._clients) < MOST_NAMES:
                self._clients.add(name)

    def client_label(self, name: str) -> str:
        return name if name in self._clients else OTHER

    def model_label(self, name: str) -> str:
        return name if name in self._models else OTHER

    def waiting(self) -> dict[tuple[str, str], int]:
        """(class, model) -> requests that wait for a slot."""
        depth: dict[tuple[str, str], int] = {}
        for one in self._open.values():
            if not one.served:
                depth[one.class_, one.model] = depth.get((one.class_, one.model), 0) + 1
        return depth

    def overdue(self, now_s: float) -> dict[str, int]:
        """Client -> its requests that still wait for a slot although their deadline has passed."""
        late: dict[str, int] = {}
        for one in self._open.values():
            if not one.served and one.deadline_at_s is not None and now_s > one.deadline_at_s:
                late[one.client] = late.get(one.client, 0) + 1
        return late

    def refused(self, client: Client, model: str, error: PartageError) -> None:
        self.refusals.add(self.client_label(client.name), _snake(type(error).__name__))

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        match event:
            case RequestArrived(demand=demand):
                self._arrived(demand, at_s)
            case RequestFinished():
                self._finished(event, at_s)
            case RequestRequeued(request=request):
                self._requeued(request)
            case ModelLearned(profile=profile):
                if len(self._models) < MOST_NAMES:
                    self._models.add(profile.model)
            case EngineReady(engine=engine, load_s=load_s):
                self.loads.add(self._model_of(engine), "ready")
                self.load_time.observe(self._model_of(engine), value=load_s)
            case EngineParked() | EngineParkFailed() | EngineUnparked():
                self._moved(event)
            case EngineFailed(engine=engine, out_of_memory=out_of_memory):
                self.loads.add(self._model_of(engine), "out_of_memory" if out_of_memory else "failed")
                self._engines.pop(engine, None)
            case EngineGone(engine=engine, crashed=crashed):
                if crashed:
                    self.stops.add(self._model_of(engine), "crashed")
                self._goes_on(engine, at_s)
                self._engines.pop(engine, None)
            case _:
                pass
        for action in actions:
            self._ordered(action, at_s)
        self.leases.decided(at_s, event, actions)

    def _moved(self, event: EngineParked | EngineParkFailed | EngineUnparked) -> None:
        model = self._model_of(event.engine)
        match event:
            case EngineParked(park_s=park_s):
                self.parks.add(model, "parked")
                self.park_time.observe(model, "park", value=park_s)
            case EngineParkFailed():
                self.parks.add(model, "failed")
            case EngineUnparked(unpark_s=unpark_s):
                self.park_time.observe(model, "unpark", value=unpark_s)

    def _ordered(self, action: Action, at_s: float) -> None:
        match action:
            case Serve(request=request):
                one = self._open.get(request)
                if one is not None and not one.served:
                    one.served = True
                    self.queue_wait.observe(one.class_, one.model, value=at_s - one.arrived_s)
            case StartEngine(engine=engine, model=model):
                self._engines[engine] = self.model_label(model)
            case StopEngine(engine=engine, reason=reason):
                self.stops.add(self._model_of(engine), stop_cause(reason))
            case PauseEngine(engine=engine, reason=reason) if engine in self._engines:  # else it is a lease's
                self._goes_on(engine, at_s)  # paused in turn before, by hand now
                self._paused[engine] = (at_s, reason)
                self.pauses.add(self._model_of(engine), reason)
            case ResumeEngine(engine=engine):
                self._goes_on(engine, at_s)
            case Refuse(request=request, kind=kind):
                one = self._open.pop(request, None)
                if one is not None:
                    self.requests.add(one.client, one.model, "refused")
                    if one.deadline_at_s is not None:
                        self._due(one, at_s, missed=kind == "deadline" or at_s > one.deadline_at_s)
            case _:
                pass

    def paused_s(self, now_s: float) -> dict[EngineId, float]:
        """For how long each has been paused by now, in turn with others and not by hand."""
        engines = {engine: now_s - since_s for engine, (since_s, reason) in self._paused.items() if reason != "hand"}
        return engines | self.leases.paused_s(now_s)

    def _goes_on(self, engine: EngineId, at_s: float) -> None:
        since_s, reason = self._paused.pop(engine, (at_s, "turn"))
        if at_s > since_s:
            self.paused.add(self._model_of(engine), reason, by=at_s - since_s)

    def _arrived(self, demand: Demand, at_s: float) -> None:
        self._open[demand.id] = _Open(
            client=self.client_label(demand.client),
            model=self.model_label(demand.model),
            class_=demand.class_.name.lower(),
            arrived_s=at_s,
            deadline_at_s=demand.deadline_at_s,
            load_only=demand.load_only,
        )

    def _requeued(self, request: RequestId) -> None:
        one = self._open.get(request)
        if one is not None:
            one.served = False
            self.requeues.add(one.model)

    def _finished(self, event: RequestFinished, at_s: float) -> None:
        one = self._open.pop(event.request, None)
        if one is None:
            return
        self.requests.add(one.client, one.model, event.outcome)
        if one.deadline_at_s is not None and event.outcome != "cancelled":
            self._due(one, at_s, missed=at_s > one.deadline_at_s)
        self.prompt_tokens.add(one.client, by=event.prompt_tokens or 0)
        self.cached_tokens.add(one.client, by=event.cached_tokens)
        self.output_tokens.add(one.client, one.model, by=event.output_tokens)
        if event.outcome != "done" or one.load_only:
            return
        self.service.observe(one.model, value=event.served_s)
        if event.first_output_s is not None:
            self.first_output.observe(one.class_, one.model, value=event.first_output_s)
        if event.output_tokens > 1 and event.decode_s > 0:
            self.token_time.observe(one.model, value=event.decode_s / event.output_tokens)

    def _due(self, one: _Open, at_s: float, *, missed: bool) -> None:
        self.recent_deadlines.append((at_s, one.client, missed))
        self.deadlines.add(one.client, one.model)
        self.deadline_misses.add(one.client, one.model, by=int(missed))

    def _model_of(self, engine: EngineId) -> str:
        return self._engines.get(engine, OTHER)


def stop_cause(reason: str) -> Literal["evicted", "idle", "asked"]:
    """The policy's words for why an engine is stopped (policy/residency.py, swapping.py), as a label value."""
    if reason.startswith("room for"):
        return "evicted"
    return "idle" if "keep-alive" in reason else "asked"


def _snake(name: str) -> str:
    """QueueFull -> queue_full."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
