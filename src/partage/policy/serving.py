"""Who gets a slot of an engine that is ready (check 1), and what batch work leaves free for people (check 6)."""

from __future__ import annotations

from partage.domain import Class
from partage.policy import turns
from partage.policy.actions import Serve
from partage.policy.state import Plan, Resident, State
from partage.policy.waiting import Waiting

_PERSON_SEEN_S = 600.0
LEAST_WORK_S = 1e-3  # nothing is free: shares are counted in work


def fill(state: State, resident: Resident) -> None:
    """Serve from its queue as long as there is a slot and somebody who may."""
    if resident.phase != "ready":
        return
    queue, resident.held = resident.model.queue, False
    while queue.loads:
        _hand_over(state, resident, next(iter(queue.loads.values())))
    while queue.ready_count and len(resident.serving) < resident.slots:
        waiting = _next(state, resident)
        if waiting is None:
            resident.held = not resident.gated and others_need(state, resident)
            return
        _serve(state, resident, waiting)


def offer_held(state: State) -> None:
    """Who floods is held back no longer than he floods and others wait: each event may have changed either."""
    served = -1
    while state.plans and served < len(state.out):
        served = len(state.out)
        for resident in list(state.residents.values()):
            if resident.held:
                fill(state, resident)


def fill_beside(state: State, resident: Resident) -> None:
    """Once the last interactive request on a device has ended, batch work beside it may have its slots back."""
    if state.beside_people(resident):
        return
    for other in list(state.residents.values()):
        if other is not resident and other.model.queue.groups[Class.BATCH].count:
            fill(state, other)


def leave_slot(state: State, waiting: Waiting) -> Resident | None:
    """The request holds no slot any more; its engine, if that is still there."""
    waiting.account.serving -= 1
    resident = state.residents.get(waiting.engine or "") or state.parked.get(waiting.engine or "")
    if resident is None or resident.serving.pop(waiting.demand.id, None) is None:
        return None
    resident.last_used_s = state.now_s
    resident.by_class[waiting.demand.class_] -= 1
    if not resident.serving:
        turns.leaves(state, resident)
        state.schedule_expiry(resident)
        if resident.phase != "ready":
            state.place(resident.model)  # nobody waits in mid-answer for it any more
    return resident


def work_s(state: State, waiting: Waiting) -> float:
    """Seconds that a request takes a stream alone, as far as is known."""
    profile = state.models[waiting.demand.model].profile
    demand = waiting.demand
    prefill_s = demand.prompt_tokens / profile.prefill_tokens_per_s
    return max(LEAST_WORK_S, prefill_s + demand.output_tokens / profile.decode_tokens_per_s)


def _next(state: State, resident: Resident) -> Waiting | None:
    """The highest class that has somebody, unless a lower one has been passed over for longer than its share allows."""
    queue, settings = resident.model.queue, state.settings
    first: Waiting | None = None
    held = state.accounts.floods if others_need(state, resident) else None
    for group in queue.groups:
        if not group.count or not _has_slot_for(state, resident, group.class_):
            queue.owed_s[group.class_] = queue.owed_s[group.class_] if group.count else 0.0
            continue
        impatient_s = state.now_s - state.pressure.patience_s[group.class_] if resident.fresh else None
        waiting = group.next(state.now_s, settings.fairness_slack_s, oldest_since_s=impatient_s, held=held)
        if waiting is None or (resident.gated and not _passes_gate(state, resident, waiting)):
            continue
        if first is None:
            first = waiting
        elif queue.owed_s[group.class_] >= waiting.work_s:
            queue.owed_s[group.class_] -= waiting.work_s
            return waiting
        else:
            queue.owed_s[group.class_] += settings.class_shares[group.class_] * first.work_s
    return first


def _has_slot_for(state: State, resident: Resident, class_: Class) -> bool:
    """People always find a slot free of batch work, and beside people batch work takes half of the slots at most."""
    if class_ != Class.BATCH or resident.slots == 1:
        return True
    model = resident.model
    people = state.now_s - model.interactive_at_s < _PERSON_SEEN_S
    limit = resident.slots - max(model.profile.floor_slots_interactive, 1 if people else 0)
    if state.beside_people(resident):
        limit = min(limit, resident.slots // 2)
    return resident.by_class[Class.BATCH] < max(
        limit, 0 if model.profile.floor_slots_interactive >= resident.slots else 1
    )


def others_need(state: State, resident: Resident) -> bool:
    """Who floods takes nothing new where clients that had less wait for memory: one engine or another is idle sooner."""
    return any(
        plan.model is not resident.model
        and any(plan.placement.bytes_on(device) for device in resident.bytes_)
        and is_claimed(state, plan)
        for plan in state.plans
    )


def is_claimed(state: State, plan: Plan) -> bool:
    """Somebody waits for it who does not flood."""
    return not all(state.accounts.floods(account) for account in plan.model.queue.accounts())


def _passes_gate(state: State, resident: Resident, waiting: Waiting) -> bool:
    """A person may still slip in where that does not make the drain longer than it is anyway."""
    return waiting.demand.class_ == Class.INTERACTIVE and state.now_s + waiting.work_s <= resident.drain_until_s


def _serve(state: State, resident: Resident, waiting: Waiting) -> None:
    _hand_over(state, resident, waiting)
    if not resident.serving:
        turns.joins(state, resident)
    request = waiting.demand.id
    resident.serving[request] = waiting
    resident.by_class[waiting.demand.class_] += 1
    resident.fresh = max(0, resident.fresh - 1)
    if resident.owed:
        resident.owed -= 1
        if not resident.owed and state.unplaced:
            state.reconsider_s = state.now_s  # it may be a victim from now on: no other event will tell
    batch = len(resident.serving)
    waiting.share = state.settings.slowdown(batch) / batch
    waiting.charged_s = waiting.work_s * waiting.share
    state.accounts.charge(waiting.account, waiting.charged_s, state.now_s)


def _hand_over(state: State, resident: Resident, waiting: Waiting) -> None:
    state.dequeue(waiting)
    waiting.account.serving += 1
    waiting.engine, waiting.served_at_s = resident.engine, state.now_s
    waiting.paused_before_s = turns.paused_s(state, resident)
    resident.last_used_s = state.now_s
    state.out.append(Serve(request=waiting.demand.id, engine=resident.engine))
