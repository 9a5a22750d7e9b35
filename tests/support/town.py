"""A world for the policy in tests: carries out actions, keeps its own books, and complains when a promise is broken."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import assert_never

from partage.domain import Class, Device, Footprint, LaunchSettings, Placement
from partage.policy import actions, events
from partage.policy.scheduler import Scheduler
from partage.policy.serving import others_need
from partage.policy.settings import PolicySettings

Say = Callable[[object], object]
"""Is told every event, with its time, and every decision."""


def placement(
    *shares: tuple[str, int], slots: int = 2, context: int = 4096, threads: int = 1, speed: float = 1.0
) -> Placement:
    return Placement(
        settings=LaunchSettings(context_tokens=context, slots=slots, threads=threads),
        shares=tuple((device, Footprint(weights_bytes=size)) for device, size in shares),
        speed=speed,
    )


def gpu(name: str = "gpu", budget: int = 10, *, parks: bool = False) -> Device:
    return Device(id=name, kind="cuda", name=name, total_bytes=budget, contended=True, parks=parks)


def host(budget: int = 100, cores: int = 2) -> Device:
    return Device(id="host", kind="host", name="host", total_bytes=budget, cores=cores, contended=True)


class Town:
    """Every event goes through tell(), which checks what must always hold."""

    def __init__(self, settings: PolicySettings | None = None, *devices: Device, say: Say | None = None) -> None:
        self.say, self.settings = say, settings or PolicySettings()
        self.scheduler = Scheduler(self.settings)
        self.now_s = 0.0
        self.budgets: dict[str, int] = {}
        self.strangers: dict[str, int] = {}
        self.cores = 0
        self.running: dict[str, actions.StartEngine] = {}
        self.ready: set[str] = set()
        self.stopping: set[str] = set()
        self.paused: dict[str, float] = {}
        """Since when."""
        self.halted, self.orphans = set[str](), set[str]()
        """Models, and what stands for leases, that are paused by hand; and engines of models that were deleted: another model
        may have the name by now."""
        self.pause_bound_s = self.longest_pause_s = 0.0
        self.computed_s: dict[str, float] = {}
        """While it served somebody and was not paused, by engine."""
        self._told_s = 0.0
        self.parking: set[str] = set()
        self.parked: set[str] = set()
        """Their device memory is free."""
        self.flooding, self.silent_s = set[str](), dict[str, float]()
        """Since when engines are in RAM, or were let go by hand there; some of them in mid-answer."""
        self.unparking: set[str] = set()
        self.in_ram: dict[str, int] = {}
        """Bytes of the RAM tier, from the order to park."""
        self.devices: dict[str, Device] = {}
        self.serving: dict[str, str] = {}
        """Request: engine."""
        self.load_only: set[str] = set()
        self.open: dict[str, events.Demand] = {}
        self.ended: dict[str, str] = {}
        self.leases: dict[str, tuple[events.LeaseDemand, actions.GrantLease | None]] = {}
        """Asked for and not ended; with its grant, once there is one."""
        self.arrived_s: dict[str, float] = {}
        self.served_by: dict[str, int] = {}
        self.called_by: dict[str, set[str]] = {}
        """Engine: those that waited for its model when it was started."""
        self.out: list[actions.Action] = []
        self.wake_s = math.inf
        for device in devices:
            self.tell(events.DeviceSeen(device))

    def learn(self, name: str, *places: Placement, load_s: float = 2.0, **profile: float | bool) -> None:
        self.tell(events.ModelLearned(events.ModelProfile(model=name, placements=places, load_s=load_s, **profile)))  # type: ignore[arg-type]

    def ask(self, request: str, model: str, client: str = "me", **demand: object) -> list[actions.Action]:
        asked = events.Demand(id=request, model=model, client=client, **demand)  # type: ignore[arg-type]
        self.open[request] = asked
        self.arrived_s[request] = self.now_s
        if asked.load_only:
            self.load_only.add(request)
        return self.tell(events.RequestArrived(asked))

    def finish(self, request: str, outcome: events.Outcome = "done", output_tokens: int = 10) -> list[actions.Action]:
        self.open.pop(request, None)
        self.serving.pop(request, None)
        assert self.ended.setdefault(request, outcome) == outcome, f"{request} ended twice"
        return self.tell(events.RequestFinished(request=request, outcome=outcome, output_tokens=output_tokens))

    def lease(self, name: str, size: int = 0, client: str = "me", **lease: object) -> list[actions.Action]:
        asked = events.LeaseDemand(id=name, client=client, bytes_=size, **lease)  # type: ignore[arg-type]
        self.leases[name] = (asked, None)
        self.arrived_s[name] = self.now_s
        return self.tell(events.LeaseAsked(asked))

    def end_lease(self, name: str) -> list[actions.Action]:
        grant = self.leases.pop(name)[1]
        if grant is not None:
            self.paused.pop(grant.engine, None)
            self.halted.discard(grant.engine.rpartition("#")[0])
        assert self.ended.setdefault(name, "done") == "done", f"{name} ended twice"
        return self.tell(events.LeaseEnded(lease=name))

    def make_ready(self, engine: str) -> list[actions.Action]:
        self.ready.add(engine)
        if engine in self.unparking:
            self.unparking.discard(engine)
            del self.in_ram[engine]
            return self.tell(events.EngineUnparked(engine=engine, unpark_s=0.1))
        return self.tell(events.EngineReady(engine=engine, load_s=1.0))

    def park_ends(self, engine: str, *, works: bool = True) -> list[actions.Action]:
        self.parking.discard(engine)
        if works:
            self.parked.add(engine)
            return self.tell(events.EngineParked(engine=engine, park_s=0.1))
        del self.in_ram[engine]
        self.ready.add(engine)
        return self.tell(events.EngineParkFailed(engine=engine, reason="the driver would not"))

    def go(self, engine: str, *, crashed: bool = False) -> list[actions.Action]:
        self._forget(engine)
        return self.tell(events.EngineGone(engine=engine, crashed=crashed))

    def fail(self, engine: str, *, out_of_memory: bool = False) -> list[actions.Action]:
        self._forget(engine)
        return self.tell(events.EngineFailed(engine=engine, reason="it broke", out_of_memory=out_of_memory))

    def _forget(self, engine: str) -> None:
        del self.running[engine]
        self.called_by.pop(engine, None)
        self.ready.discard(engine)
        self.paused.pop(engine, None)
        self.stopping.discard(engine)
        self.in_ram.pop(engine, None)
        for phase in (self.ready, self.stopping, self.parking, self.parked, self.unparking):
            phase.discard(engine)

    def crash(self, engine: str, *, dropped_tokens: int = 0) -> None:
        """As the hub tells it: the engine is gone, then each of its requests waits again."""
        victims = [request for request, where in self.serving.items() if where == engine]
        self.go(engine, crashed=True)
        for request in victims:
            del self.serving[request]
            self.tell(events.RequestRequeued(request=request, output_tokens=dropped_tokens))

    def pass_time(self, seconds: float) -> None:
        """To that moment, waking the policy whenever it asked for it."""
        until_s = self.now_s + seconds
        while self.wake_s <= until_s:
            self.now_s = max(self.now_s, self.wake_s)
            self.wake_s = math.inf
            self.tell(events.TimePassed())
        self.now_s = until_s

    def settle(self, limit: int = 1000) -> None:
        """Let every start, stop and request come to its end, a second each."""
        for _ in range(limit):
            todo = [*self.stopping, *self.parking, *self.starting, *self.serving, *self.granted]
            if not todo and (not (self.open or self.leases) or self.wake_s == math.inf):
                return
            if not todo:
                self.pass_time(max(0.0, self.wake_s - self.now_s))
                continue
            self.pass_time(1.0)
            for engine in list(self.stopping):
                self.go(engine)
            for engine in list(self.parking - self.stopping):
                self.park_ends(engine)
            for engine in self.starting:
                self.make_ready(engine)
            for request, engine in list(self.serving.items()):
                if (
                    engine not in self.in_ram or request in self.load_only
                ):  # in mid-answer: it comes back, unless it is ended
                    self.finish(request)
            for lease in self.granted:
                self.end_lease(lease)

    def tell(self, event: events.Event) -> list[actions.Action]:
        for engine in self.computing:
            self.computed_s[engine] = self.computed_s.get(engine, 0.0) + self.now_s - self._told_s
        self._told_s = self.now_s
        match event:
            case events.DeviceSeen(device=device):
                self.budgets[device.id] = device.budget_bytes
                self.devices[device.id] = device
                self.cores = max(self.cores, device.cores)
            case events.StrangersSeen(device=device, bytes_=bytes_):
                self.strangers[device] = bytes_
            case events.PauseAsked(model=model, paused=paused):
                here = [one for one in self.silent_s if one.rpartition("#")[0] == model and one not in self.orphans]
                self.silent_s.update(dict.fromkeys(here, self.now_s))
                (self.halted.add if paused else self.halted.discard)(model)
            case events.ModelForgotten(model=model):
                self.halted.discard(model)
                self.orphans |= {engine for engine in self.running if engine.rpartition("#")[0] == model}
            case _:
                pass
        if self.say is not None:
            self.say((self.now_s, event))
        accounts = self.scheduler.state.accounts
        self.flooding = {name for name, account in accounts.by_name.items() if accounts.floods(account)}
        self.out = self.scheduler.decide(event, self.now_s)
        if self.say is not None:
            self.say(self.out)
        for action in self.out:
            self._carry_out(action)
        self._check()
        return self.out

    def _carry_out(self, action: actions.Action) -> None:  # noqa: C901, PLR0915 - one branch per kind of action
        match action:
            case actions.Serve(request=request, engine=engine):
                assert request in self.open, f"{request} is served although it has ended"
                assert request not in self.serving, f"{request} is served twice"
                assert engine in self.ready, f"{engine} serves before it is ready"
                assert engine not in self.stopping, f"{engine} serves while it stops"
                self.served_by[engine] = self.served_by.get(engine, 0) + 1
                self.serving[request] = engine
                self.called_by.get(engine, set()).discard(request)
            case actions.StartEngine(engine=engine, model=model, placement=place):
                assert engine not in self.running
                assert model not in self.halted, f"{engine} is loaded although it is paused by hand"
                for device, share in place.shares:
                    free = self.budgets[device] - self.strangers.get(device, 0) - self._held(device)
                    assert share.total_bytes <= free, f"{engine} does not fit {device}"
                self.running[engine] = action
                waiting = self.open.keys() - self.serving.keys()
                self.called_by[engine] = {one for one in waiting if self.open[one].model == model}
            case actions.StopEngine(engine=engine):
                assert engine in self.running
                assert engine not in self.stopping, f"{engine} is stopped twice"
                streams = {where for one, where in self.serving.items() if one not in self.load_only}
                silent = engine in self.parked and (engine in self.orphans or self._silent_beyond_s(engine) > -1e-6)
                assert engine not in streams or silent, f"{engine} is stopped while it serves"
                callers = self.called_by.get(engine, set()) & self.open.keys()
                assert self.served_by.get(engine) or not callers, f"{engine} leaves before it served who called it"
                self.stopping.add(engine)
            case actions.GrantLease():
                self._granted(action)
            case actions.Refuse(request=request, kind=kind) if request in self.leases:
                assert self.leases.pop(request)[1] is None, f"{request} is refused although it is held"
                assert self.ended.setdefault(request, kind) == kind, f"{request} ended twice"
            case actions.ParkEngine(engine=engine, bytes_=size):
                self._park(engine, size)
            case actions.UnparkEngine(engine=engine):
                self._unpark(engine)
            case actions.Refuse(request=request, kind=kind):
                assert request in self.open, f"{request} is refused although it has ended"
                assert request not in self.serving
                assert request not in self.ended
                del self.open[request]
                self.ended[request] = kind
            case actions.PauseEngine(engine=engine, reason=reason):
                assert engine in self.ready or engine in self._holders
                assert engine not in self.stopping
                assert engine not in self.paused or reason == "hand", f"{engine} is paused twice"
                assert (reason == "hand") == self._halted(engine)
                assert self._streams(engine), f"{engine} is paused although it serves nobody"
                self.paused[engine] = self.now_s
            case actions.ResumeEngine(engine=engine):
                del self.paused[engine]
            case actions.WakeAt(at_s=at_s):
                self.wake_s = at_s
            case _:
                assert_never(action)

    def _granted(self, grant: actions.GrantLease) -> None:
        device = grant.device
        asked, before = self.leases[grant.lease]
        assert before is None, f"{grant.lease} is granted twice"
        assert grant.bytes_ >= asked.bytes_
        free = self.budgets[device] - self.strangers.get(device, 0) - self._held(device)
        assert grant.bytes_ <= free, f"{grant.lease} does not fit {device}"
        if asked.exclusive:
            assert not self._held(device), f"{grant.lease} is not alone on {device}"
        self.leases[grant.lease] = (asked, grant)
        for name, (other, held) in self.leases.items():
            if held is None and other.device == device:
                mine_s = self.arrived_s[grant.lease] + self.settings.swap_patience_s[asked.class_]
                gone = self.arrived_s[name] + self.settings.patience_s[other.class_] <= min(self.now_s, mine_s - 1e-6)
                assert not gone, f"{grant.lease} goes before {name}, which has lost patience"

    def _park(self, engine: str, size: int) -> None:
        assert engine in self.ready - self.stopping, f"{engine} is parked when it is not ready"
        flooding = all(self._floods(self.open[one].client) for one in self._streams(engine))
        assert flooding, f"{engine} is parked in mid-answer of somebody who does not flood"
        assert size == self.running[engine].placement.total_bytes
        assert all(self.devices[device].parks for device, _ in self.running[engine].placement.shares)
        self.ready.discard(engine)
        self.parking.add(engine)
        self.silent_s[engine] = self.now_s
        self.in_ram[engine] = size

    def _silent_beyond_s(self, engine: str) -> float:
        """What is paused by hand is silent for as long as it is asked to be."""
        silent_s = 0.0 if self._halted(engine) else self.now_s - self.silent_s[engine]
        return silent_s - self.scheduler.aside_bound_s()

    def _floods(self, client: str) -> bool:
        """When it was decided: before the event, or with what that has cost others since."""
        accounts = self.scheduler.state.accounts
        return client in self.flooding or accounts.floods(accounts.of(client))

    def _unpark(self, engine: str) -> None:
        assert engine in self.parked - self.stopping
        start = self.running[engine]
        for device, share in start.placement.shares:
            free = self.budgets[device] - self.strangers.get(device, 0) - self._held(device)
            assert share.total_bytes <= free, f"{engine} does not fit {device} any more"
        self.parked.discard(engine)
        self.unparking.add(engine)
        waiting = self.open.keys() - self.serving.keys()
        self.called_by[engine] = {one for one in waiting if self.open[one].model == start.model}
        self.served_by[engine] = len(self._streams(engine))  # it goes on with them

    def _held(self, device: str) -> int:
        on_devices = (start for engine, start in self.running.items() if engine not in self.parked)
        return sum(start.placement.bytes_on(device) for start in on_devices) + self._leased(device)

    def _leased(self, device: str) -> int:
        return sum(grant.bytes_ for _, grant in self.leases.values() if grant is not None and grant.device == device)

    def _check_nobody_waits_in_vain(self) -> None:
        """Work conservation: no free slot of an engine that takes work, while somebody is waiting who may have it."""
        state = self.scheduler.state
        for resident in state.residents.values():
            idle_slot = len(resident.serving) < resident.slots and resident.phase == "ready"
            if not idle_slot or resident.gated:
                continue
            for group in resident.model.queue.groups[:2]:
                held = others_need(state, resident)
                blocked = all(
                    line.account.at_limit or (held and state.accounts.floods(line.account))
                    for line in group.lines.values()
                )
                assert blocked, f"{group.count} wait for {resident.engine}, which has a slot free"

    def _check(self) -> None:
        self._check_nobody_waits_in_vain()
        for engine, start in self.running.items():
            streams = self._streams(engine)
            assert len(streams) <= start.placement.settings.slots, f"{engine} has {len(streams)} streams"
        self._check_turns()
        for view in self.scheduler.ledger_view():
            held = self._held(view.device)
            held_there = view.residents_bytes + view.loading_bytes + view.leases_bytes
            assert held_there == held, "the ledger disagrees with the world"
            assert view.leases_bytes == self._leased(view.device)
        for engine in self.parked - self.stopping:
            assert not self._streams(engine) or self._silent_beyond_s(engine) < 1e-6, f"{engine} is silent too long"
        tier = self.scheduler.tier_view()
        assert sum(self.in_ram.values()) == tier.held_bytes <= tier.budget_bytes, "the RAM tier is overdrawn"
        bound = self.scheduler.wait_bound_s()
        for request, asked in self.open.items():
            if request not in self.serving:
                assert self.now_s - self.arrived_s[request] <= bound[asked.class_] + 1e-6, f"{request} waits too long"
        waiting_leases = len(self.leases) - len(self.granted)
        assert self.scheduler.state.queued == (
            len(self.open) - len(self.serving.keys() & self.open.keys()) + waiting_leases
        )

    @property
    def granted(self) -> list[str]:
        """Leases that are held."""
        return [name for name, (_, grant) in self.leases.items() if grant is not None]

    @property
    def _holders(self) -> dict[str, tuple[events.LeaseDemand, actions.GrantLease]]:
        """What stands for an engine where a lease is held."""
        return {grant.engine: (asked, grant) for asked, grant in self.leases.values() if grant is not None}

    def _streams(self, engine: str) -> list[str]:
        if engine in self._holders:
            return [self._holders[engine][0].id]
        return [one for one, where in self.serving.items() if where == engine and one not in self.load_only]

    def _check_turns(self) -> None:
        """Never a thread too many, nobody paused for longer than the bound, and nobody without a reason."""
        threads = sum(self._threads(engine) for engine in self.computing)
        assert threads <= self.cores, f"{threads} threads compute on {self.cores} cores"
        self.pause_bound_s = max(self.pause_bound_s if self.paused else 0.0, self.scheduler.pause_bound_s())
        for engine in self.computing:
            assert not self._halted(engine), f"{engine} computes although it is paused by hand"
        for engine, since_s in self.paused.items():
            if self._halted(engine):
                continue
            paused_s = self.now_s - since_s
            self.longest_pause_s = max(self.longest_pause_s, paused_s)
            assert self._streams(engine), f"{engine} serves nobody and is still paused"
            assert paused_s <= self.pause_bound_s + 1e-6, f"{engine} is paused for {paused_s} s"
            beside = [one for one in self.computing if self._devices(one) & self._devices(engine)]
            assert beside, f"{engine} is paused although nobody else computes there"
            classes = {self.scheduler.state.residents[one].turn_class for one in beside}
            fits = threads + self._threads(engine) <= self.cores
            assert not fits or Class.INTERACTIVE in classes, f"{engine} is paused although it would fit"

    def _halted(self, engine: str) -> bool:
        return engine.rpartition("#")[0] in self.halted and engine not in self.orphans

    @property
    def computing(self) -> list[str]:
        """Engines that serve somebody, and holders of leases, that are not paused."""
        return sorted(one for one in (self.ready | self._holders.keys()) - self.paused.keys() if self._streams(one))

    def _threads(self, engine: str) -> int:
        if engine in self._holders:
            asked, grant = self._holders[engine]
            cores = self.cores if asked.cores is None else asked.cores
            return min(self.cores, cores) if grant.device == "host" else 0
        place = self.running[engine].placement
        return min(self.cores, place.settings.threads) if "host" in dict(place.shares) else 0

    def _devices(self, engine: str) -> set[str]:
        if engine in self._holders:
            return {self._holders[engine][1].device}
        return {device for device, _ in self.running[engine].placement.shares}

    @property
    def starting(self) -> list[str]:
        return sorted(set(self.running) - self.ready - self.stopping - self.parking - self.parked)

    @property
    def stopped(self) -> list[str]:
        return [one.engine for one in self.out if isinstance(one, actions.StopEngine)]

    @property
    def started(self) -> list[str]:
        return [one.engine for one in self.out if isinstance(one, actions.StartEngine)]

    @property
    def served(self) -> list[str]:
        return [one.request for one in self.out if isinstance(one, actions.Serve)]

    @property
    def refusals(self) -> list[actions.Refuse]:
        return [one for one in self.out if isinstance(one, actions.Refuse)]
