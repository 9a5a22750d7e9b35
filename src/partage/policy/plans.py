"""An exchange carried through: victims gated, drained and stopped, and the model started in their place (check 3)."""

from __future__ import annotations

from partage.domain import DeviceId, Placement
from partage.policy import aside, leases, parking
from partage.policy.actions import StartEngine
from partage.policy.eviction import remaining_s
from partage.policy.serving import fill, is_claimed
from partage.policy.state import ModelState, Plan, Resident, State
from partage.policy.suitable import suitable_placements
from partage.policy.turns import threads_of


def exchange(state: State, model: ModelState, placement: Placement, victims: list[Resident]) -> None:
    """The victims take nothing new, drain and are stopped; then the model is started in their place."""
    if not victims:
        start(state, model, placement, "fits free memory")
        return
    state.plans.append(Plan(model, placement, victims))
    _charge(state, model)
    for victim in victims:
        victim.gated, victim.gated_s = True, state.now_s
        victim.drain_until_s = state.now_s + remaining_s(state, victim)
        _let_go(state, state.plans[-1], victim)


def _let_go(state: State, plan: Plan, victim: Resident) -> None:
    """Unless it has to drain first."""
    if not victim.serving:
        displace(state, victim, plan.model)
    elif is_claimed(state, plan) and victim.model is not plan.model:
        aside.try_set_aside(state, victim)


def displace(state: State, victim: Resident, by: ModelState) -> None:
    state.displaced[victim.model.name] = victim.model
    if not parking.try_park(state, victim):
        state.stop(victim, f"room for {by.name}")


def carry_on_plans(state: State) -> None:
    """Stop victims that have drained, start what has its room, and drop plans that nobody waits for any more.

    While they drained somebody may have come who needs a longer context, or the model was learned anew: then it is not that
    placement which is started.
    """
    for plan in list(state.plans):
        still = [victim for victim in plan.victims if victim.engine in state.residents]
        if not plan.model.wanted or _came_elsewhere(plan):
            drop(state, plan)
            go_on(state)
        elif still:
            for victim in still:
                if victim.phase == "ready":
                    _let_go(state, plan, victim)
        else:
            state.plans.remove(plan)
            if (
                not state.ledger.missing(plan.placement)
                and plan.model.resident is None
                and plan.placement in suitable_placements(plan.model)
                and (plan.model.lease is not None or not link_busy(state, plan.placement))
            ):
                start(state, plan.model, plan.placement, "room was made")
            go_on(state)


def _came_elsewhere(plan: Plan) -> bool:
    """Memory was free there before the victims had drained."""
    return plan.model.resident is not None and plan.model.resident not in plan.victims


def drop(state: State, plan: Plan) -> None:
    """Those of its victims that are not stopping yet go on."""
    state.plans.remove(plan)
    for victim in plan.victims:
        if victim.phase == "ready":
            victim.gated = False


def go_on(state: State) -> None:
    """A plan has ended: who was held back for its sake may be served."""
    for resident in list(state.residents.values()):
        if resident.model.queue.ready_count:
            fill(state, resident)


def start(state: State, model: ModelState, placement: Placement, reason: str) -> None:
    """Or bring it back from RAM, where it is parked in that placement."""
    if model.lease is None:
        state.pressure.loaded(state.now_s, parking.load_s(state, model, placement))
        for device, _ in placement.shares:
            state.loading[device] = state.loading.get(device, 0) + 1
    parked = model.parked
    if parked is not None and parked.placement == placement:
        state.ledger.hold(parked.bytes_.items())
        parking.unpark(state, parked)
    else:
        if parked is not None:
            state.stop(parked, "its model is loaded elsewhere")
        _start_anew(state, model, placement, reason)
    state.displaced.pop(model.name, None)
    state.place(model)


def _start_anew(state: State, model: ModelState, placement: Placement, reason: str) -> None:
    state.starts += 1
    engine = f"{model.name}#{state.starts}"
    held: dict[DeviceId, int] = {}
    for device, share in placement.shares:
        held[device] = held.get(device, 0) + share.total_bytes
    resident = Resident(engine, model, placement, held, state.now_s)
    resident.threads = threads_of(state, resident)
    state.ledger.hold(held.items())
    state.residents[engine] = resident
    model.resident = resident
    if model.lease is not None:
        leases.grant(state, resident)
        return
    state.out.append(StartEngine(engine=engine, model=model.name, placement=placement, reason=reason))


def _charge(state: State, model: ModelState) -> None:
    """The load is paid by those whose waiting made others leave, each by how many it has waiting."""
    lines = [line for group in model.queue.groups for line in group.lines.values()]
    count = sum(line.timely_count + line.late_count for line in lines)
    for line in lines:
        part = (line.timely_count + line.late_count) / count
        state.accounts.charge(line.account, parking.load_s(state, model) * part, state.now_s)


def link_busy(state: State, placement: Placement) -> bool:
    return any(state.loading.get(device) for device, _ in placement.shares)
