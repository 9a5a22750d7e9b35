"""decide(event, now) -> actions: the order of checks IS the policy.

On every event, after it was noted:
1. a request whose model is ready and has a free slot is served: class, then arrival;
2. a model that fits free memory is loaded;
3. otherwise the group that has waited longest gates and drains the least recently used victims;
4. a model that was just loaded serves the group that called it before it can be a victim; pinned models never are;
5. what can never be served is refused at once, what has waited too long is refused with Retry-After;
6. an engine that nobody used for its keep-alive is stopped.
"""

from __future__ import annotations

from typing import assert_never

from partage.domain import Device, EngineId, Placement
from partage.policy import events
from partage.policy.actions import Action, RefusalKind, Refuse, Serve, StartEngine, StopEngine, WakeAt
from partage.policy.events import Demand, Event
from partage.policy.settings import PolicySettings
from partage.policy.state import ModelState, Resident, State, Waiting
from partage.policy.views import ClientView, DeviceView, QueuedView, ResidentView


class Scheduler:
    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self.state = State()
        self._now_s = 0.0
        self._out: list[Action] = []
        self._wake_s: float | None = None

    def decide(self, event: Event, now_s: float) -> list[Action]:
        self._now_s = now_s
        self._out = []
        self._note(event)
        self._serve_all()
        self._start_or_drain()
        self._expire()
        self._ask_to_wake()
        return self._out

    # ---- views ---------------------------------------------------------------------------------------------------

    def queue_view(self) -> tuple[QueuedView, ...]:
        places: dict[str, int] = {}
        views: list[QueuedView] = []
        for waiting in self._in_order():
            demand = waiting.demand
            place = places[demand.model] = places.get(demand.model, 0) + 1
            views.append(
                QueuedView(
                    request=demand.id,
                    model=demand.model,
                    client=demand.client,
                    class_=demand.class_,
                    position=place,
                    waited_s=self._now_s - waiting.arrived_s,
                    predicted_wait_s=self._predicted_wait_s(demand.model, place),
                )
            )
        return tuple(views)

    def ledger_view(self) -> tuple[DeviceView, ...]:
        return tuple(self._device_view(device) for device in self.state.devices.values())

    def residents_view(self) -> tuple[ResidentView, ...]:
        return tuple(
            ResidentView(
                engine=resident.engine,
                model=resident.model,
                phase=resident.phase,
                placement=resident.placement,
                bytes_=tuple(resident.bytes_.items()),
                serving=len(resident.serving),
                slots=resident.placement.settings.slots,
                gated=resident.gated,
                pinned=self._is_pinned(resident),
                last_used_s=resident.last_used_s,
                expires_at_s=self._expires_at_s(resident),
            )
            for resident in self.state.residents.values()
        )

    def clients_view(self) -> tuple[ClientView, ...]:
        seen: dict[str, list[Waiting]] = {}
        for waiting in (*self.state.queue.values(), *self.state.serving.values()):
            seen.setdefault(waiting.demand.client, []).append(waiting)
        return tuple(
            ClientView(
                name=name,
                class_=work[0].demand.class_,
                weight=work[0].demand.weight,
                queued=sum(one.engine is None for one in work),
                serving=sum(one.engine is not None for one in work),
                virtual_s=0.0,
                served_s=0.0,
            )
            for name, work in seen.items()
        )

    # ---- noting what happened ------------------------------------------------------------------------------------

    def _note(self, event: Event) -> None:  # noqa: C901, PLR0912, PLR0915 - one branch per kind of event
        state = self.state
        match event:
            case events.DeviceSeen(device=device):
                state.devices[device.id] = device
            case events.StrangersSeen(device=device, bytes_=held):
                state.strangers[device] = held
            case events.ModelLearned(profile=profile):
                self._learn(profile)
            case events.ModelForgotten(model=name):
                self._leave(name)
                for waiting in [one for one in state.queue.values() if one.demand.model == name]:
                    self._refuse(waiting.demand, "unknown_model", f"model '{name}' was deleted")
                state.models.pop(name, None)
            case events.RequestArrived(demand=demand):
                self._admit(demand)
            case events.RequestProgressed():
                pass
            case events.RequestFinished(request=request):
                state.queue.pop(request, None)
                self._unserve(request)
            case events.RequestRequeued(request=request):
                waiting = self._unserve(request)
                if waiting is not None:
                    waiting.engine = None
                    state.queue[request] = waiting
            case events.EngineReady():
                self._ready(event)
            case events.EngineFailed():
                self._failed(event)
            case events.EngineGone(engine=engine, crashed=crashed):
                resident = state.release(engine)
                if resident is not None and crashed:
                    self._count_failure(resident.model, "the model server keeps crashing")
            case events.EnginePaused() | events.EngineResumed() | events.TimePassed():
                pass
            case events.UnloadAsked(model=name):
                self._leave(name)
            case events.PinChanged(model=name, pinned=pinned):
                if name in state.models:
                    state.models[name].pinned = pinned
            case _:
                assert_never(event)

    def _learn(self, profile: events.ModelProfile) -> None:
        known = self.state.models.get(profile.model)
        if known is None:
            self.state.models[profile.model] = ModelState(profile, profile.pinned)
        else:
            known.pinned = known.pinned or profile.pinned
            known.profile = profile

    def _admit(self, demand: Demand) -> None:
        model = self.state.models.get(demand.model)
        if model is None:
            self._refuse(demand, "unknown_model", f"model '{demand.model}' is not on this machine")
            return
        if not self._served_by_current(model, demand) and not self._could_ever_fit(demand, model):
            return
        if len(self.state.queue) >= self.settings.queue_limit:
            message = f"{len(self.state.queue)} requests are waiting already"
            self._refuse(demand, "queue_full", message, retry_after_s=self._predicted_wait_s(demand.model, 1))
            return
        self.state.arrivals += 1
        self.state.queue[demand.id] = Waiting(demand, self._now_s, self.state.arrivals)
        if model.engine is not None:
            self.state.residents[model.engine].leaving = False

    def _served_by_current(self, model: ModelState, demand: Demand) -> bool:
        if model.engine is None:
            return False
        return self.state.residents[model.engine].placement.settings.context_tokens >= demand.context_tokens

    def _could_ever_fit(self, demand: Demand, model: ModelState) -> bool:
        """Refuse now what no unloading can make room for, and say the arithmetic."""
        candidates = self._placements(model, demand.context_tokens)
        if any(self._fits_alone(placement, demand.model) for placement in candidates):
            return True
        if not candidates:
            message = f"model '{demand.model}' cannot be loaded with a context of {demand.context_tokens} tokens here"
            self._refuse(demand, "cannot_fit", message)
            return False
        least = min(candidates, key=lambda placement: placement.total_bytes)
        capacity = sum(self._capacity_bytes(device, demand.model) for device, _ in least.shares)
        message = (
            f"model '{demand.model}' needs {least.total_bytes:,} bytes; {capacity:,} can be free on its devices "
            "when all that is not pinned is unloaded"
        )
        self._refuse(demand, "cannot_fit", message, needs_bytes=least.total_bytes, capacity_bytes=capacity)
        return False

    def _capacity_bytes(self, device_id: str, model: str) -> int:
        device = self.state.devices.get(device_id)
        if device is None:
            return 0
        pinned = sum(
            resident.bytes_.get(device_id, 0)
            for resident in self.state.residents.values()
            if resident.model != model and self._is_pinned(resident)
        )
        return device.budget_bytes - pinned

    def _fits_alone(self, placement: Placement, model: str) -> bool:
        return all(size.total_bytes <= self._capacity_bytes(device, model) for device, size in placement.shares)

    def _placements(self, model: ModelState, context_tokens: int) -> list[Placement]:
        limit = model.smallest_failed_bytes
        return [
            placement
            for placement in model.profile.placements
            if placement.settings.context_tokens >= context_tokens and (limit is None or placement.total_bytes < limit)
        ]

    def _unserve(self, request: str) -> Waiting | None:
        waiting = self.state.serving.pop(request, None)
        if waiting is not None and waiting.engine in self.state.residents:
            resident = self.state.residents[waiting.engine]
            resident.serving.discard(request)
            resident.last_used_s = self._now_s
            if waiting.demand.keep_alive_s is not None:
                resident.keep_alive_s = waiting.demand.keep_alive_s
        return waiting

    def _ready(self, event: events.EngineReady) -> None:
        resident = self.state.residents.get(event.engine)
        if resident is None:
            return
        self.state.measure(resident, event.measured_bytes)
        resident.phase = "ready"
        resident.ready_s = resident.last_used_s = self._now_s
        waiting = sum(one.demand.model == resident.model for one in self.state.queue.values())
        resident.owed = min(waiting, max(8, resident.placement.settings.slots))
        if resident.model in self.state.models:
            self.state.models[resident.model].failures = 0

    def _failed(self, event: events.EngineFailed) -> None:
        resident = self.state.release(event.engine)
        if resident is None:
            return
        model = self.state.models.get(resident.model)
        if model is None:
            return
        if event.out_of_memory and self._smaller_than(model, resident.placement):
            model.smallest_failed_bytes = resident.placement.total_bytes
        self._count_failure(resident.model, event.reason)

    def _smaller_than(self, model: ModelState, placement: Placement) -> bool:
        return any(one.total_bytes < placement.total_bytes for one in model.profile.placements)

    def _count_failure(self, name: str, reason: str) -> None:
        model = self.state.models.get(name)
        if model is None:
            return
        model.failures += 1
        model.not_before_s = self._now_s + self.settings.start_backoff_s * 4 ** (model.failures - 1)
        if model.failures >= self.settings.start_attempts:
            for waiting in [one for one in self.state.queue.values() if one.demand.model == name]:
                retry_s = model.not_before_s - self._now_s
                self._refuse(waiting.demand, "start_failed", f"model '{name}': {reason}", retry_after_s=retry_s)
            model.failures = self.settings.start_attempts - 1

    def _leave(self, name: str) -> None:
        model = self.state.models.get(name)
        if model is not None and model.engine is not None:
            self.state.residents[model.engine].leaving = True

    def _refuse(
        self,
        demand: Demand,
        kind: RefusalKind,
        message: str,
        *,
        retry_after_s: float | None = None,
        needs_bytes: int = 0,
        capacity_bytes: int = 0,
    ) -> None:
        self.state.queue.pop(demand.id, None)
        refusal = Refuse(
            request=demand.id,
            kind=kind,
            message=message,
            retry_after_s=retry_after_s,
            needs_bytes=needs_bytes,
            capacity_bytes=capacity_bytes,
        )
        self._out.append(refusal)

    # ---- serving -------------------------------------------------------------------------------------------------

    def _in_order(self) -> list[Waiting]:
        return sorted(self.state.queue.values(), key=lambda one: (one.demand.class_, one.sequence))

    def _serve_all(self) -> None:
        for waiting in self._in_order():
            model = self.state.models[waiting.demand.model]
            if model.engine is None:
                continue
            resident = self.state.residents[model.engine]
            if resident.phase == "ready" and self._may_serve(resident, waiting.demand):
                self._serve(resident, waiting)

    def _may_serve(self, resident: Resident, demand: Demand) -> bool:
        if resident.gated or resident.placement.settings.context_tokens < demand.context_tokens:
            return False
        if demand.load_only:
            return True
        if len(resident.serving) >= resident.placement.settings.slots:
            return False
        if demand.max_concurrent is not None and self._running(demand.client) >= demand.max_concurrent:
            return False
        return bool(resident.serving) or self._threads_free(resident)

    def _running(self, client: str) -> int:
        return sum(one.demand.client == client for one in self.state.serving.values())

    def _threads_free(self, resident: Resident) -> bool:
        """Threads of host engines that compute at once never add up to more than the cores."""
        hosts = [self.state.devices[device] for device in resident.bytes_ if device in self.state.devices]
        cores = max((device.cores for device in hosts if device.kind == "host"), default=0)
        if cores == 0:
            return True
        busy = sum(
            min(cores, other.placement.settings.threads)
            for other in self.state.residents.values()
            if other.serving and any(device.id in other.bytes_ for device in hosts if device.kind == "host")
        )
        return busy + min(cores, resident.placement.settings.threads) <= cores

    def _serve(self, resident: Resident, waiting: Waiting) -> None:
        request = waiting.demand.id
        del self.state.queue[request]
        waiting.engine, waiting.served_at_s = resident.engine, self._now_s
        self.state.serving[request] = waiting
        resident.serving.add(request)
        resident.owed = max(0, resident.owed - 1)
        resident.last_used_s = self._now_s
        self._out.append(Serve(request=request, engine=resident.engine))

    # ---- loading and evicting ------------------------------------------------------------------------------------

    def _start_or_drain(self) -> None:
        for resident in list(self.state.residents.values()):
            if resident.phase == "ready" and not resident.serving and (resident.gated or self._may_leave(resident)):
                self._stop(resident, "drained to make room" if resident.gated else "unload was asked for")
        planned = any(resident.gated for resident in self.state.residents.values())
        tried: set[str] = set()
        for waiting in sorted(self.state.queue.values(), key=lambda one: one.sequence):
            name = waiting.demand.model
            if name in tried:
                continue
            tried.add(name)
            model = self.state.models[name]
            if model.engine is not None and self.state.residents[model.engine].phase == "starting":
                continue
            if model.not_before_s > self._now_s or self._starting():
                continue
            if model.engine is None and self._start_if_fits(model, waiting.demand):
                continue
            if not planned and self._must_move(model, waiting.demand):
                planned = self._make_room(model, waiting.demand)

    def _must_move(self, model: ModelState, demand: Demand) -> bool:
        return model.engine is None or not self._served_by_current(model, demand)

    def _may_leave(self, resident: Resident) -> bool:
        return resident.leaving and not any(one.demand.model == resident.model for one in self.state.queue.values())

    def _starting(self) -> bool:
        return any(resident.phase != "ready" for resident in self.state.residents.values())

    def _start_if_fits(self, model: ModelState, demand: Demand) -> bool:
        need = max(one.demand.context_tokens for one in self.state.queue.values() if one.demand.model == demand.model)
        for placement in self._placements(model, need) or self._placements(model, demand.context_tokens):
            if self.state.fits(placement):
                self._start(model, placement, f"{demand.client} waits")
                return True
        return False

    def _start(self, model: ModelState, placement: Placement, reason: str) -> None:
        self.state.starts += 1
        name = model.profile.model
        engine: EngineId = f"{name}#{self.state.starts}"
        held = {device: placement.bytes_on(device) for device, _ in placement.shares}
        self.state.hold(Resident(engine, name, placement, held, self._now_s))
        model.engine = engine
        self._out.append(StartEngine(engine=engine, model=name, placement=placement, reason=reason))

    def _make_room(self, model: ModelState, demand: Demand) -> bool:
        """Gate the least recently used, idle ones first, until what they hold is enough."""
        own = model.engine
        victims = [self.state.residents[own]] if own is not None else self._victims_for(model, demand)
        for victim in victims:
            victim.gated = True
            if not victim.serving:
                self._stop(victim, f"room for {model.profile.model}")
        return bool(victims)

    def _victims_for(self, model: ModelState, demand: Demand) -> list[Resident]:
        candidates = [one for one in self.state.residents.values() if self._may_be_victim(one)]
        candidates.sort(key=lambda one: (bool(one.serving), one.last_used_s))
        for placement in self._placements(model, demand.context_tokens):
            short = {
                device: placement.bytes_on(device) - self.state.free_bytes(device) for device, _ in placement.shares
            }
            chosen: list[Resident] = []
            for victim in candidates:
                if any(short.get(device, 0) > 0 for device in victim.bytes_):
                    chosen.append(victim)
                    for device, size in victim.bytes_.items():
                        if device in short:
                            short[device] -= size
            if all(missing <= 0 for missing in short.values()):
                return chosen
        return []

    def _may_be_victim(self, resident: Resident) -> bool:
        if resident.phase != "ready" or self._is_pinned(resident):
            return False
        waiting = any(one.demand.model == resident.model for one in self.state.queue.values())
        return not (resident.owed and waiting)

    def _is_pinned(self, resident: Resident) -> bool:
        model = self.state.models.get(resident.model)
        return model is not None and model.pinned

    def _stop(self, resident: Resident, reason: str) -> None:
        resident.phase = "stopping"
        self._out.append(StopEngine(engine=resident.engine, reason=reason))

    # ---- time ----------------------------------------------------------------------------------------------------

    def _expires_at_s(self, resident: Resident) -> float | None:
        keep_s = self.settings.keep_alive_s if resident.keep_alive_s is None else resident.keep_alive_s
        if resident.phase != "ready" or resident.serving or keep_s < 0 or self._is_pinned(resident):
            return None
        return resident.last_used_s + keep_s

    def _expire(self) -> None:
        for waiting in list(self.state.queue.values()):
            if self._gives_up_at_s(waiting) <= self._now_s:
                retry_s = self._predicted_wait_s(waiting.demand.model, 1)
                if waiting.demand.hard_deadline and waiting.demand.deadline_at_s is not None:
                    self._refuse(waiting.demand, "deadline", "the deadline has passed", retry_after_s=retry_s)
                else:
                    self._refuse(waiting.demand, "queue_full", "the longest wait has passed", retry_after_s=retry_s)
        for resident in list(self.state.residents.values()):
            expires_s = self._expires_at_s(resident)
            if expires_s is not None and expires_s <= self._now_s:
                self._stop(resident, "nobody used it for its keep-alive")

    def _gives_up_at_s(self, waiting: Waiting) -> float:
        limit_s = waiting.arrived_s + self.settings.max_wait_s[waiting.demand.class_]
        if waiting.demand.hard_deadline and waiting.demand.deadline_at_s is not None:
            return min(limit_s, waiting.demand.deadline_at_s)
        return limit_s

    def _ask_to_wake(self) -> None:
        times = [self._gives_up_at_s(waiting) for waiting in self.state.queue.values()]
        times += [at for one in self.state.residents.values() if (at := self._expires_at_s(one)) is not None]
        times += [model.not_before_s for model in self.state.models.values() if model.not_before_s > self._now_s]
        due_s = min(times, default=None)
        if due_s is not None and due_s != self._wake_s:
            self._out.append(WakeAt(due_s))
        self._wake_s = due_s

    def _predicted_wait_s(self, name: str, place: int) -> float:
        model = self.state.models.get(name)
        if model is None:
            return 1.0
        load_s = model.profile.load_s if model.engine is None else 0.0
        slots = model.profile.placements[0].settings.slots if model.profile.placements else 1
        return load_s + place * 200 / model.profile.decode_tokens_per_s / slots

    def _device_view(self, device: Device) -> DeviceView:
        loading = sum(one.bytes_.get(device.id, 0) for one in self.state.residents.values() if one.phase == "starting")
        return DeviceView(
            device=device.id,
            capacity_bytes=device.budget_bytes,
            strangers_bytes=self.state.strangers.get(device.id, 0),
            residents_bytes=self.state.held.get(device.id, 0) - loading,
            loading_bytes=loading,
            free_bytes=self.state.free_bytes(device.id),
        )
