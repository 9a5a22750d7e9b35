"""Whether a request is taken at all, and how long it will have to wait (checks 5 and 7)."""

from __future__ import annotations

import heapq

from partage.domain import Class, Placement
from partage.policy import leases
from partage.policy.events import Demand
from partage.policy.serving import work_s
from partage.policy.state import ModelState, State
from partage.policy.suffering import quantum_s
from partage.policy.suitable import suitable_placements
from partage.policy.waiting import Waiting
from partage.quantities import format_bytes


def admit(state: State, demand: Demand) -> ModelState | None:
    """Queue it, or refuse it: 1. unknown model; 2. can never fit; 3. queue full; 4. a hard deadline out of reach."""
    model = state.models.get(demand.model)
    if model is None:
        state.refuse(demand, "unknown_model", f"model '{demand.model}' is not on this machine")
        return None
    if not _fits_engine(model, demand) and not could_fit(state, model, demand):
        return None
    settings = state.settings
    if state.queued >= settings.queue_limit:
        message = f"{state.queued} requests are waiting already, and no more are taken"
        state.refuse(demand, "queue_full", message, retry_after_s=predicted_wait_s(state, model, demand.class_))
        return None
    account = state.account_of(demand)
    state.arrivals += 1
    waiting = Waiting(demand, account, state.now_s, state.arrivals, 0.0, 0.0)
    waiting.work_s = work_s(state, waiting)
    prefill_s = demand.prompt_tokens / model.profile.prefill_tokens_per_s
    waiting.due_s = state.now_s + settings.first_token_goal_s[demand.class_] - prefill_s
    give_up_s = state.now_s + _longest_wait_s(state, demand)
    if demand.deadline_at_s is not None:
        waiting.due_s = demand.deadline_at_s - waiting.work_s
        if demand.hard_deadline:
            give_up_s = min(give_up_s, waiting.due_s)
            wait_s = predicted_wait_s(state, model, demand.class_)
            if state.now_s + wait_s > waiting.due_s:
                late_s = state.now_s + wait_s - waiting.due_s
                message = f"it would start in {wait_s:.0f} s, {late_s:.0f} s too late for its deadline"
                state.refuse(demand, "deadline", message, retry_after_s=max(1.0, late_s))
                return None
    heapq.heappush(state.give_up, (give_up_s, waiting.sequence, waiting))
    _note_arrival(state, model, waiting)
    state.accounts.joins(account)
    state.requests[demand.id] = waiting
    state.enqueue(waiting)
    return model


def _note_arrival(state: State, model: ModelState, waiting: Waiting) -> None:
    demand = waiting.demand
    entitled = state.accounts.entitlement(waiting.account)
    model.reuse.arrived(state.now_s, state.settings.class_values[demand.class_] * entitled)
    model.unloaded = False
    if demand.class_ == Class.INTERACTIVE:
        model.interactive_at_s = state.now_s
    for resident in (model.resident, model.parked):
        if resident is not None:
            resident.leaving = False


def _fits_engine(model: ModelState, demand: Demand) -> bool:
    resident = model.resident
    return resident is not None and not resident.leaves and resident.context_tokens >= demand.context_tokens


def could_fit(state: State, model: ModelState, demand: Demand) -> bool:
    """Refuse now what no unloading can make room for, and say the arithmetic."""
    wide = [one for one in suitable_placements(model) if one.settings.context_tokens >= demand.context_tokens]
    if any(_fits_empty(state, model, placement) for placement in wide):
        return True
    if not wide and model.lease is not None:
        state.refuse(demand, "cannot_fit", f"there is no device '{model.lease.device}' here")
        return False
    if not wide:
        longest = max((one.settings.context_tokens for one in model.profile.placements), default=0)
        message = (
            f"model '{model.name}' cannot be loaded with a context of {demand.context_tokens} tokens on this machine; "
            f"the longest is {longest}"
        )
        state.refuse(demand, "cannot_fit", message)
        return False
    least = min(wide, key=lambda placement: placement.total_bytes)
    capacity = sum(_capacity_bytes(state, model, device) for device, _ in least.shares)
    message = (
        f"{_what(model)} needs {format_bytes(least.total_bytes)} ({least.total_bytes:,} bytes), but no more than "
        f"{format_bytes(capacity)} ({capacity:,}) can be made free: that is the budget less what is pinned and what "
        "other programs hold"
    )
    state.refuse(demand, "cannot_fit", message, needs_bytes=least.total_bytes, capacity_bytes=capacity)
    return False


def _fits_empty(state: State, model: ModelState, placement: Placement) -> bool:
    return all(share.total_bytes <= _capacity_bytes(state, model, device) for device, share in placement.shares)


def _capacity_bytes(state: State, model: ModelState, device: str) -> int:
    known = state.ledger.devices.get(device)
    if known is None:
        return 0
    pinned = sum(
        one.bytes_.get(device, 0) for one in state.residents.values() if one.model is not model and state.is_pinned(one)
    )
    return known.budget_bytes - state.ledger.lasting_strangers(device) - pinned


def give_up(state: State) -> None:
    """Tell those that have waited for as long as anybody may, or can no longer keep a hard deadline."""
    while state.give_up and (state.give_up[0][0] <= state.now_s or not state.give_up[0][2].queued):
        waiting = heapq.heappop(state.give_up)[2]
        if not waiting.queued:
            continue
        demand = waiting.demand
        retry_s = predicted_wait_s(state, state.models[demand.model], demand.class_)
        if demand.hard_deadline and state.now_s < waiting.arrived_s + _longest_wait_s(state, demand):
            state.refuse(demand, "deadline", "its deadline can no longer be met", retry_after_s=retry_s)
        else:
            waited_s = state.now_s - waiting.arrived_s
            message = f"it has waited {waited_s:.0f} s, as long as it may"
            state.refuse(demand, "queue_full", message, retry_after_s=retry_s)


def _longest_wait_s(state: State, demand: Demand) -> float:
    return state.settings.max_wait_s[demand.class_] if demand.max_wait_s is None else demand.max_wait_s


def _what(model: ModelState) -> str:
    return (
        f"model '{model.name}'"
        if model.lease is None
        else "a lease of all of the device"
        if model.lease.exclusive
        else "the lease"
    )


def predicted_wait_s(state: State, model: ModelState, class_: Class, work_ahead_s: float | None = None) -> float:
    """Until a newcomer of this class would get a slot: what is ahead of it, and the load and its turn if it is absent."""
    resident = model.resident
    load_s = model.profile.load_s
    slots = model.profile.placements[0].settings.slots if model.profile.placements else 1
    absent_s = 0.0
    if resident is None or resident.leaves:
        free = any(not state.ledger.missing(placement) for placement in model.profile.placements)
        absent_s = load_s if free else load_s + quantum_s(state, load_s)
        if state.leases:
            absent_s += leases.in_the_way_s(state, model)
    elif resident.phase == "starting":
        absent_s = max(0.0, resident.started_s + load_s - state.now_s)
    else:
        slots = resident.slots
        if len(resident.serving) < slots and not resident.gated and not model.queue.ready_count:
            return 0.0
    ahead_s = model.queue.work_s(class_) if work_ahead_s is None else work_ahead_s
    return absent_s + ahead_s * state.settings.slowdown(slots) / slots
