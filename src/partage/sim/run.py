"""Runs a workload on a machine under a policy, on virtual time: the simulator's counterpart of the hub.

A decider is anything with decide(event, now) -> actions: the real Scheduler, or one of the peers' (peers.py). The world
carries out its actions as future events, and fails loudly where an action breaks the machine: too much memory, too many
streams, an engine that is not there.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from partage.domain import DeviceId, EngineId, Placement
from partage.policy import actions, events
from partage.sim.machine import Machine
from partage.sim.workload import Workload


class Decider(Protocol):
    def decide(self, event: events.Event, now_s: float) -> list[actions.Action]: ...


class WorldBroken(AssertionError):
    """A policy asked for something that a real machine could not do."""


@dataclass(slots=True)
class Stay:
    """One engine's life, for the residency picture."""

    model: str
    devices: tuple[DeviceId, ...]
    started_s: float
    ready_s: float = math.inf
    gone_s: float = math.inf
    served: int = 0


@dataclass(slots=True)
class Result:
    """What became of every request, by its index in the workload, and of every load."""

    served_at_s: array[float]
    first_token_s: array[float]
    finished_s: array[float]
    refused_s: array[float]
    ended_s: float = 0.0
    stays: list[Stay] = field(default_factory=list[Stay])
    load_s: float = 0.0
    gpu_s: dict[str, float] = field(default_factory=dict[str, float])
    """Seconds of device time used, by client."""
    decisions: int = 0


@dataclass(slots=True)
class _Engine:
    id: EngineId
    model: str
    placement: Placement
    devices: tuple[DeviceId, ...]
    stay: Stay
    ready: bool = False
    parked: bool = False
    progress: float = 0.0
    """Seconds of work that a stream alone would have had done by now."""
    at_s: float = 0.0
    rate: float = 0.0
    version: int = 0
    streams: int = 0
    paused: bool = False
    targets: list[tuple[float, int, bool]] = field(default_factory=list[tuple[float, int, bool]])
    """(progress at which it is reached, index of the request, whether that is its end)."""

    @property
    def computes(self) -> bool:
        """As far as it has something to do."""
        return self.ready and not self.paused


class World:
    def __init__(
        self, machine: Machine, workload: Workload, decider: Decider, *, infinite_memory: bool = False
    ) -> None:
        self.machine = machine
        self.workload = workload
        self.decider = decider
        self.observe: Callable[[events.Event, list[actions.Action], float], None] | None = None
        self._infinite = infinite_memory
        self._now_s = 0.0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._pushed = 0
        self._wake_s = math.inf
        self._engines: dict[EngineId, _Engine] = {}
        self._active: dict[DeviceId, set[EngineId]] = {device.id: set() for device in machine.devices}
        self._held: dict[DeviceId, int] = {device.id: 0 for device in machine.devices}
        self._link_free_s = 0.0
        self._costs = {
            model.name: (1 / model.prefill_tokens_per_s, 1 / model.decode_tokens_per_s) for model in workload.models
        }
        count = len(workload.arrivals)
        self.result = Result(_unknown(count), _unknown(count), _unknown(count), _unknown(count))
        self._open = count
        self._tries: dict[int, int] = {}

    def run(self, *, drain_s: float = 3600.0) -> Result:
        """Until every request has ended, or `drain_s` after the last arrival could come."""
        for device in self.machine.devices:
            self._tell(events.DeviceSeen(device))
        for model in self.workload.models:
            self._tell(events.ModelLearned(self.machine.profile(model)))
        for arrival in self.workload.arrivals:
            self._until(arrival.at_s)
            self._now_s = arrival.at_s
            self._tell(events.RequestArrived(arrival.demand))
        self._until(self.workload.until_s + drain_s)
        self.result.ended_s = self._now_s
        return self.result

    def _until(self, limit_s: float) -> None:
        while self._open:
            next_s = self._heap[0][0] if self._heap else math.inf
            if min(next_s, self._wake_s) > limit_s:
                return
            if self._wake_s < next_s:
                self._now_s = max(self._now_s, self._wake_s)
                self._wake_s = math.inf
                self._tell(events.TimePassed())
            else:
                self._now_s, _, act = heapq.heappop(self._heap)
                act()
        self._now_s = max(self._now_s, 0.0)

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (at_s, self._pushed, act))

    def _tell(self, event: events.Event) -> None:
        chosen = self.decider.decide(event, self._now_s)
        self.result.decisions += 1
        if self.observe is not None:
            self.observe(event, chosen, self._now_s)
        for action in chosen:
            self._carry_out(action)

    def _carry_out(self, action: actions.Action) -> None:
        match action:
            case actions.Serve(request=request, engine=engine):
                self._serve(int(request), engine)
            case actions.StartEngine():
                self._start(action)
            case actions.StopEngine(engine=engine):
                self._stop(engine)
            case actions.Refuse(request=request, retry_after_s=retry_after_s):
                self._refused(int(request), retry_after_s)
            case actions.WakeAt(at_s=at_s):
                self._wake_s = at_s
            case actions.PauseEngine(engine=engine):
                self._pause(engine, paused=True)
            case actions.ResumeEngine(engine=engine):
                self._pause(engine, paused=False)
            case actions.GrantLease():
                raise WorldBroken("leases are not simulated")
            case actions.ParkEngine(engine=engine):
                self._park(engine)
            case actions.UnparkEngine(engine=engine):
                self._unpark(engine)
            case _:
                assert_never(action)

    def _refused(self, index: int, retry_after_s: float | None) -> None:
        arrival = self.workload.arrivals[index]
        tries = self._tries.get(index, 0)
        if retry_after_s is None or tries >= arrival.retries:
            self._open -= 1
            self.result.refused_s[index] = self._now_s
            return
        self._tries[index] = tries + 1
        self._at(self._now_s + max(0.5, retry_after_s), lambda: self._tell(events.RequestArrived(arrival.demand)))

    def _start(self, order: actions.StartEngine) -> None:
        devices = tuple(device for device, _ in order.placement.shares)
        for device, share in order.placement.shares:
            self._held[device] += share.total_bytes
        self._check_memory()
        stay = Stay(order.model, devices, self._now_s)
        self.result.stays.append(stay)
        engine = _Engine(order.engine, order.model, order.placement, devices, stay)
        self._engines[order.engine] = engine
        load_s = self.machine.load_s(order.placement.total_bytes)
        begins_s = max(
            self._now_s, self._link_free_s
        )  # loads share one link to disk or host memory: one after the other
        self._link_free_s = begins_s + load_s
        self.result.load_s += load_s
        self._at(begins_s + load_s, lambda: self._ready(engine, load_s))

    def _check_memory(self) -> None:
        if self._infinite:
            return
        for device in self.machine.devices:
            if self._held[device.id] > device.budget_bytes:
                raise WorldBroken(f"{device.id} holds {self._held[device.id]:,} of {device.budget_bytes:,} bytes")

    def _ready(self, engine: _Engine, load_s: float) -> None:
        if engine.id in self._engines and not engine.ready:
            engine.ready = True
            engine.at_s = engine.stay.ready_s = self._now_s
            self._tell(events.EngineReady(engine=engine.id, load_s=load_s))

    def _stop(self, engine_id: EngineId) -> None:
        engine = self._engines[engine_id]
        if engine.streams:
            raise WorldBroken(f"{engine_id} was stopped while it served {engine.streams}")
        engine.ready = True  # one that is told to stop while it starts never reports ready
        self._at(self._now_s + self.machine.stop_s, lambda: self._gone(engine))

    def _pause(self, engine_id: EngineId, *, paused: bool) -> None:
        engine = self._engines[engine_id]
        if paused and not engine.streams:
            raise WorldBroken(f"{engine_id} was paused although it serves nobody")
        engine.paused = paused
        self._share_out(engine)

    def _gone(self, engine: _Engine) -> None:
        del self._engines[engine.id]
        engine.stay.gone_s = self._now_s
        if not engine.parked:
            self._hold(engine, -1)
        self._tell(events.EngineGone(engine=engine.id))

    def _hold(self, engine: _Engine, sign: int) -> None:
        for device, share in engine.placement.shares:
            self._held[device] += sign * share.total_bytes

    def _park(self, engine_id: EngineId) -> None:
        engine = self._engines[engine_id]
        if not engine.ready:
            raise WorldBroken(f"{engine_id} was parked while it loaded")
        engine.ready = False
        self._share_out(engine)
        copy_s = engine.placement.total_bytes / self.machine.link_bytes_per_s
        self._at(self._now_s + copy_s, lambda: self._parked(engine, copy_s))

    def _parked(self, engine: _Engine, park_s: float) -> None:
        engine.parked = True
        engine.stay.gone_s = self._now_s
        self._hold(engine, -1)
        self._tell(events.EngineParked(engine=engine.id, park_s=park_s))

    def _unpark(self, engine_id: EngineId) -> None:
        """A stay of its own, as after a load."""
        engine = self._engines[engine_id]
        engine.parked = False
        self._hold(engine, 1)
        self._check_memory()
        engine.stay = Stay(engine.model, engine.devices, self._now_s)
        self.result.stays.append(engine.stay)
        copy_s = engine.placement.total_bytes / self.machine.link_bytes_per_s
        self.result.load_s += copy_s
        self._at(self._now_s + copy_s, lambda: self._unparked(engine, copy_s))

    def _unparked(self, engine: _Engine, unpark_s: float) -> None:
        engine.ready = True
        engine.at_s = engine.stay.ready_s = self._now_s
        self._share_out(engine)
        self._tell(events.EngineUnparked(engine=engine.id, unpark_s=unpark_s))

    def _serve(self, index: int, engine_id: EngineId) -> None:
        engine = self._engines[engine_id]
        if not engine.ready or engine.streams >= engine.placement.settings.slots:
            raise WorldBroken(
                f"{engine_id} cannot serve request {index}: {engine.streams} streams, ready {engine.ready}"
            )
        arrival = self.workload.arrivals[index]
        prefill, decode = self._costs[arrival.demand.model]
        self.result.served_at_s[index] = self._now_s
        engine.stay.served += 1
        self._advance(engine)
        first = engine.progress + arrival.demand.prompt_tokens * prefill
        heapq.heappush(engine.targets, (first, index, False))
        heapq.heappush(engine.targets, (first + arrival.output_tokens * decode, index, True))
        engine.streams += 1
        self._share_out(engine)

    def _advance(self, engine: _Engine) -> None:
        engine.progress += (self._now_s - engine.at_s) * engine.rate
        engine.at_s = self._now_s

    def _share_out(self, engine: _Engine) -> None:
        """Its streams or its being paused changed: so do the speeds of all that share a device with it."""
        busy = engine.streams > 0 and engine.computes
        touched = {engine.id}
        for device in engine.devices:
            active = self._active[device]
            if busy != (engine.id in active):
                (active.add if busy else active.discard)(engine.id)
                touched |= active
        for name in touched:
            one = self._engines[name]
            self._advance(one)
            crowd = max(1, *(len(self._active[device]) for device in one.devices)) if one.devices else 1
            slowdown = 1 + self.machine.batch_slowdown * max(0, one.streams - 1)
            one.rate = 0.0 if not one.computes else one.placement.speed / crowd / slowdown
            self._schedule(one)

    def _schedule(self, engine: _Engine) -> None:
        engine.version += 1
        if engine.targets and engine.rate:
            version = engine.version
            due_s = self._now_s + max(0.0, engine.targets[0][0] - engine.progress) / engine.rate
            self._at(due_s, lambda: self._reached(engine, version))

    def _reached(self, engine: _Engine, version: int) -> None:
        if version != engine.version:
            return
        self._advance(engine)
        target, index, is_end = heapq.heappop(engine.targets)
        engine.progress = max(engine.progress, target)
        if not is_end:
            self.result.first_token_s[index] = self._now_s
            self._schedule(engine)
            return
        self._open -= 1
        self.result.finished_s[index] = self._now_s
        engine.streams -= 1
        self._share_out(engine)
        self._finish(index, engine)

    def _finish(self, index: int, engine: _Engine) -> None:
        arrival = self.workload.arrivals[index]
        demand = arrival.demand
        served_s = self._now_s - self.result.served_at_s[index]
        prefill, decode = self._costs[demand.model]
        batch = engine.streams + 1
        share = (1 + self.machine.batch_slowdown * (batch - 1)) / batch
        used_s = demand.prompt_tokens * prefill + arrival.output_tokens * decode
        self.result.gpu_s[demand.client] = self.result.gpu_s.get(demand.client, 0.0) + used_s * share
        self._tell(
            events.RequestFinished(
                request=demand.id,
                prompt_tokens=demand.prompt_tokens,
                output_tokens=arrival.output_tokens,
                served_s=served_s,
            )
        )


def _unknown(count: int) -> array[float]:
    return array("d", [math.nan]) * count
