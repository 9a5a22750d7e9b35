"""decide(event, now) -> actions: the order of checks IS the policy.

On every event, after it was noted:
1. a request whose model is ready and has a free slot is served: class, then deadline, then who received least;
2. a model that fits free memory is loaded;
3. otherwise the waiting model with the best value per cost may displace the cheapest victims: idle ones first, busy ones
   after their quantum, gated and drained; a group that lost patience is next, before every other;
4. a model that was just loaded serves the group that called it before it can be a victim; pinned models never are;
5. what can never fit is refused at once, what cannot keep a hard deadline early, what has waited longest allowed then;
6. batch work leaves slots free for people, and takes half of them at most while people are served beside it;
7. nothing starts that the ledger cannot pay for: budget, less strangers, less residents, less loads on their way;
8. engines that would slow each other down compute in turn, people's first; the others are paused.

Served in serving.py (1, 6), loaded and exchanged in swapping.py (2, 3), plans.py (3) and eviction.py (3, 4), refused in
admission.py (5), ended in residency.py (4, 7), paused and resumed in turns.py (8).
"""

from __future__ import annotations

import heapq
from typing import assert_never

from partage.domain import Class
from partage.policy import (
    admission,
    aside,
    events,
    leases,
    pictures,
    plans,
    residency,
    serving,
    swapping,
    turns,
)
from partage.policy.accounts import Account
from partage.policy.actions import Action, WakeAt
from partage.policy.events import Event
from partage.policy.settings import PolicySettings
from partage.policy.state import ModelState, Resident, State
from partage.policy.views import ClientView, DeviceView, LeaseView, QueuedView, ResidentView, TierView
from partage.policy.waiting import Waiting


class Scheduler:
    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self.state = State(settings)
        self._wake_s: float | None = None
        self._room_changed = False
        """Memory, an engine or its being idle: every waiting model may be concerned."""
        self._waits_for: ModelState | None = None
        """The only model whose queue grew."""

    def decide(self, event: Event, now_s: float) -> list[Action]:
        state = self.state
        state.now_s, state.out = now_s, []
        self._room_changed, self._waits_for = False, None
        leases.charge(state)
        self._note(event)
        admission.give_up(state)
        residency.expire(state)
        aside.end_silences(state)
        if state.reconsider_s is not None and state.reconsider_s <= now_s:
            self._room_changed = True
        while state.retry and state.retry[0][0] <= now_s:  # the pause after a failed start is over
            heapq.heappop(state.retry)
            self._room_changed = True
        if self._room_changed:
            residency.load_pinned(state)
            swapping.seek_room(state)
        elif self._waits_for is not None:
            swapping.seek_room_for(state, self._waits_for)
        serving.offer_held(state)
        if state.unplaced and state.reconsider_s is None:
            state.reconsider_s = now_s + _LOOK_AGAIN_S
        turns.take(state)
        self._ask_to_wake()
        return state.out

    def queue_view(self) -> tuple[QueuedView, ...]:
        return pictures.queue(self.state)

    def ledger_view(self) -> tuple[DeviceView, ...]:
        return pictures.ledger(self.state)

    def residents_view(self) -> tuple[ResidentView, ...]:
        return pictures.residents(self.state)

    def leases_view(self) -> tuple[LeaseView, ...]:
        return pictures.leases(self.state)

    def halted_view(self) -> tuple[str, ...]:
        """Models that are paused by hand, in memory or not."""
        return tuple(model.name for model in self.state.models.values() if model.halted and model.lease is None)

    def tier_view(self) -> TierView:
        return pictures.tier(self.state)

    def clients_view(self) -> tuple[ClientView, ...]:
        return pictures.clients(self.state)

    def wait_bound_s(self) -> tuple[float, float, float]:
        """Per class: no request waits longer than this for a slot; it is served, or refused, before."""
        return self.settings.max_wait_s

    def pause_bound_s(self) -> float:
        """No engine that serves somebody is paused for longer, unless somebody asked for it."""
        return turns.bound_s(self.state)

    def aside_bound_s(self) -> float:
        """No answer that was parked is silent for longer, but by hand: it comes back, or its engine is ended."""
        return self.settings.max_aside_s

    def _note(self, event: Event) -> None:  # noqa: C901, PLR0912, PLR0915 - one branch per kind of event
        state = self.state
        match event:
            case events.RequestArrived(demand=demand):
                self._arrived(demand)
            case events.RequestFinished():
                self._finished(event)
            case events.RequestProgressed(request=request, output_tokens=tokens):
                self._progressed(request, tokens)
            case events.RequestRequeued(request=request, output_tokens=tokens):
                self._requeued(request, dropped_tokens=tokens)
            case events.TimePassed():
                self._wake_s = None
            case events.EngineReady():
                self._takes_work(residency.ready(state, event))
            case events.EngineUnparked():
                self._takes_work(residency.unparked(state, event))
            case events.EngineParked():
                residency.parked(state, event)
                self._room_changed = True
            case events.EngineParkFailed():
                self._takes_work(residency.not_parked(state, event))
            case events.EngineMeasured():
                residency.measured(state, event)
                self._room_changed = True
            case events.EngineFailed():
                residency.failed(state, event)
                self._room_changed = True
            case events.EngineGone():
                residency.gone(state, event)
                self._room_changed = True
            case events.DeviceSeen(device=device):
                state.ledger.devices[device.id] = device
                self._room_changed = True
            case events.StrangersSeen(device=device, bytes_=bytes_):
                self._room_changed = state.ledger.strangers_bytes(device) != bytes_
                state.ledger.strangers_seen(device, bytes_, state.now_s)
                leases.refit(state, device)
            case events.ModelLearned(profile=profile):
                self._learned(profile)
            case events.ModelForgotten(model=name):
                self._forgotten(name)
            case events.LeaseAsked(lease=lease):
                self._arrived(leases.enter(state, lease))
            case events.LeaseEnded(lease=lease):
                self._lease_ended(lease)
            case events.UnloadAsked(model=name):
                residency.leave(state, state.models.get(name))
            case events.PinChanged(model=name, pinned=pinned):
                self._pin(name, pinned=pinned)
            case events.PauseAsked(model=name, paused=paused):
                self._pause(name, paused=paused)
            case _:
                assert_never(event)

    def _takes_work(self, resident: Resident | None) -> None:
        if resident is not None:
            serving.fill(self.state, resident)
            residency.leave_if_idle(self.state, resident)
        self._room_changed = True

    def _arrived(self, demand: events.Demand) -> None:
        state = self.state
        account = state.accounts.of(demand.client)
        limit = account.max_concurrent
        model = admission.admit(state, demand)
        if account.max_concurrent != limit:
            self._offer_again(account)  # also where this request itself is refused
        if model is None:
            return
        if model.resident is not None:
            serving.fill(state, model.resident)
        if model.name in state.unplaced:
            self._waits_for = model

    def _finished(self, event: events.RequestFinished) -> None:
        state = self.state
        waiting = state.requests.pop(event.request, None)
        if waiting is None:
            return
        if waiting.queued:
            state.dequeue(waiting)
            self._left(state.models[waiting.demand.model])
            return
        self._correct(waiting, event)
        resident = serving.leave_slot(state, waiting)
        model = state.models.get(waiting.demand.model)
        if event.outcome == "done" and model is not None:
            model.failures = 0
        self._after_service(waiting, resident or (model.resident if model is not None else None))

    def _lease_ended(self, lease: str) -> None:
        state = self.state
        waiting = state.requests.pop(lease, None)
        if waiting is None:
            return
        if waiting.queued:
            state.dequeue(waiting)
        else:
            leases.release(state, waiting)
            residency.gone(state, events.EngineGone(engine=waiting.engine or ""))
            plans.go_on(state)  # batch work that left slots free for it
        state.forget_lease(waiting.demand)
        self._room_changed = True

    def _after_service(self, waiting: Waiting, resident: Resident | None) -> None:
        """A slot is free: for its own queue, for the client's others, for batch work beside it, for who wants the memory."""
        state = self.state
        keep_alive_s = waiting.demand.keep_alive_s
        if resident is not None:
            if keep_alive_s is not None:
                resident.keep_alive_s = keep_alive_s
                resident.in_expiry = False
                state.schedule_expiry(resident)
            serving.fill(state, resident)
            residency.leave_if_idle(state, resident)
            if not resident.serving:
                self._room_changed = True
        if waiting.account.max_concurrent is not None:
            self._offer_again(waiting.account)
        if resident is not None and waiting.demand.class_ == Class.INTERACTIVE:
            serving.fill_beside(state, resident)

    def _offer_again(self, account: Account) -> None:
        """The client may have more at a time than before: its other requests may be next now."""
        state = self.state
        for turn in list(account.turns.values()):
            turn.offer()
            model = state.models.get(turn.model)
            if model is not None and model.resident is not None:
                serving.fill(state, model.resident)

    def _left(self, model: ModelState) -> None:
        """Somebody left the queue: perhaps the last who wanted this model, or who kept it from going."""
        if not model.queue.count:
            self._room_changed = True
            if model.resident is not None:
                residency.leave_if_idle(self.state, model.resident)
                self.state.schedule_expiry(model.resident)
            if model.parked is not None:
                self.state.schedule_expiry(model.parked)

    def _progressed(self, request: str, tokens: int) -> None:
        """Answers longer than expected are charged as they grow."""
        waiting = self.state.requests.get(request)
        if waiting is None or waiting.queued or tokens <= waiting.demand.output_tokens:
            return
        profile = self.state.models[waiting.demand.model].profile
        extra_s = (tokens - waiting.demand.output_tokens) / profile.decode_tokens_per_s
        self._charge_to(waiting, (waiting.work_s + extra_s) * waiting.share)

    def _correct(self, waiting: Waiting, event: events.RequestFinished) -> None:
        model = self.state.models.get(waiting.demand.model)
        if model is None or waiting.demand.load_only:
            return
        prompt = waiting.demand.prompt_tokens if event.prompt_tokens is None else event.prompt_tokens
        self._charge_for(waiting, model, max(0, prompt - event.cached_tokens), event.output_tokens)

    def _charge_for(self, waiting: Waiting, model: ModelState, prompt_tokens: int, output_tokens: int) -> None:
        used_s = prompt_tokens / model.profile.prefill_tokens_per_s + output_tokens / model.profile.decode_tokens_per_s
        self._charge_to(waiting, used_s * waiting.share)

    def _charge_to(self, waiting: Waiting, whole_s: float) -> None:
        self.state.accounts.charge(waiting.account, whole_s - waiting.charged_s, self.state.now_s)
        waiting.charged_s = whole_s

    def _requeued(self, request: str, *, dropped_tokens: int) -> None:
        """An engine that died before it said a word has cost its client nothing; what was computed has."""
        state = self.state
        waiting = state.requests.get(request)
        if waiting is None or waiting.queued:
            return
        model = state.models.get(waiting.demand.model)
        if model is None or not dropped_tokens:
            self._charge_to(waiting, 0.0)
        else:
            self._charge_for(waiting, model, waiting.demand.prompt_tokens, dropped_tokens)
            waiting.charged_s = 0.0  # paid: the next engine begins anew
        resident = serving.leave_slot(state, waiting)
        waiting.engine = None
        waiting.crashes += 1
        if model is None or waiting.crashes >= self.settings.start_attempts:
            del state.requests[request]
            kind = "unknown_model" if model is None else "start_failed"
            reason = "was deleted" if model is None else f"ended {waiting.crashes} times while it had this request"
            state.refuse(waiting.demand, kind, f"model '{waiting.demand.model}' {reason}")
            self._offer_again(waiting.account)
            return
        give_up_s = waiting.arrived_s + self.settings.max_wait_s[waiting.demand.class_]
        heapq.heappush(state.give_up, (give_up_s, waiting.sequence, waiting))
        state.enqueue(waiting)
        if model.resident is not None:
            serving.fill(state, model.resident)
        if resident is not None and resident is not model.resident:
            serving.fill(state, resident)
        self._offer_again(waiting.account)
        self._room_changed = True

    def _learned(self, profile: events.ModelProfile) -> None:
        model = self.state.models.get(profile.model)
        if model is None:
            model = self.state.new_model(profile)
        model.learn(profile)
        residency.refuse_outgrown(self.state, model)
        self._room_changed = model.pinned or model.queue.count > 0

    def _forgotten(self, name: str) -> None:
        state = self.state
        model = state.models.get(name)
        if model is None:
            return
        if model.halted:
            self._pause(name, paused=False)  # nobody could let it go by its name any more
        for waiting in model.queue.waiting():
            state.refuse(waiting.demand, "unknown_model", f"model '{name}' was deleted")
        model.forgotten = True
        state.pin(model, pinned=False)
        residency.leave(state, model)
        del state.models[name]
        state.unplaced.pop(name, None)
        self._room_changed = True

    def _pin(self, name: str, *, pinned: bool) -> None:
        model = self.state.models.get(name)
        if model is None:
            return
        self.state.pin(model, pinned=pinned)
        model.unloaded = False
        if model.resident is not None:
            self.state.schedule_expiry(model.resident)
        self._room_changed = True

    def _pause(self, name: str, *, paused: bool) -> None:
        """By hand. A swap that waits for what stands still now, or that is for it, would never come about."""
        state, model = self.state, self.state.models.get(name)
        if model is None or (model.lease is not None and model.resident is None):
            return
        model.halted, resident = paused, model.resident
        if model.aside is not None:
            aside.count_silence(state, model.aside)
        if resident is not None and paused:
            turns.halt(state, resident)
        elif resident is not None:
            turns.let_go(state, resident)
        for plan in list(state.plans) if paused else ():
            if plan.model is model or (resident in plan.victims and resident.stands_still):
                plans.drop(state, plan)
        plans.go_on(state)
        state.place(model)
        self._room_changed = True

    def _ask_to_wake(self) -> None:
        """Ask for the next moment at which something is due, unless an earlier call has been asked for."""
        state = self.state
        due_s = min(
            state.give_up[0][0] if state.give_up else _NEVER_S,
            state.expiry[0][0] if state.expiry else _NEVER_S,
            _NEVER_S if state.reconsider_s is None else state.reconsider_s,
            state.retry[0][0] if state.retry else _NEVER_S,
            state.turns.next_s,
            aside.next_end_s(state),
        )
        if due_s < _NEVER_S and (self._wake_s is None or due_s < self._wake_s):
            self._wake_s = due_s
            state.out.append(WakeAt(due_s))


_NEVER_S = float("inf")
_LOOK_AGAIN_S = 1.0
"""Whoever waits for memory is thought of at least so often, whatever else happens."""
