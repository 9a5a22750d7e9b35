"""Which waiting model gets memory next, and at whose expense (checks 2, 3 and 4).

A swap pays when what the group suffers by waiting outweighs what the victims' leaving costs. Idle victims go at a low price.
Busy ones stay for a quantum at least, so that a load is paid back by service, and leave for a group that suffers much, or
that has lost patience. When the price is not reached yet, the moment at which it will be is known, for waiting grows linearly.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from partage.domain import Class, DeviceId, Placement
from partage.policy import leases, parking, patience
from partage.policy.eviction import Pools, Victim, may_be_replaced, remaining_s, replaced, victims
from partage.policy.plans import carry_on_plans, drop, exchange, go_on, link_busy
from partage.policy.room import (
    all_taken,
    bring_back,
    choose_next,
    is_kept,
    planned_devices,
    room_bytes,
    short_bytes,
    start_if_free,
    wants,
)
from partage.policy.serving import fill
from partage.policy.state import ModelState, Plan, Resident, State
from partage.policy.suffering import Suffering, quantum_s, suffering_of
from partage.policy.suitable import suitable_placements

_LEAST_CLAIM = 0.5


class Option(NamedTuple):
    """One way to give a waiting model memory by taking it from others, and from when on it is right."""

    model: ModelState
    placement: Placement
    victims: list[Victim]
    at_s: float
    class_: Class
    """The highest of those who wait."""
    impatient: bool
    rank: tuple[float, float]
    """The smallest first: groups without patience by their age, then by least value for what it costs."""

    @property
    def residents(self) -> list[Resident]:
        return [victim.resident for victim in self.victims]

    @property
    def drains_s(self) -> float:
        return max((victim.remains_s for victim in self.victims), default=0.0)


def seek_room(state: State) -> None:
    """Start what fits and plan the swap that is worth most, among those that have waited longest."""
    state.reconsider_s = None
    carry_on_plans(state)
    for plan in list(state.plans):
        reconsider(state, plan)
    if not state.unplaced:
        bring_back(state)
        return
    patience.reckon(state)
    without: list[ModelState] = []
    room = room_bytes(state)
    for model in leases.in_order(state, islice(state.unplaced.values(), 4 * state.settings.candidates)):
        too_large = model.least_bytes > room and model.lease is None  # a lease needs no link
        if (too_large and model.resident is None and model.not_before_s <= state.now_s) or not start_if_free(
            state, model
        ):
            without.append(model)
        else:
            room = room_bytes(state)
    if not without or all_taken(state):
        return
    among = victims(state)
    planned = {plan.model.name for plan in state.plans}
    without = [model for model in without if model.name not in planned]
    waiting = [(model, suffering_of(state, model)) for model in without[: state.settings.candidates]]
    choose_next(state, [(model, suffering.patience_at_s) for model, suffering in waiting])
    best: Option | None = None
    for rank, _, model, suffering in sorted(
        (_best_rank(state, model, suffering), number, model, suffering)
        for number, (model, suffering) in enumerate(waiting)
        if state.next_up is None or not all(is_kept(state, model, one) for one in suitable_placements(model))
    ):
        if best is not None and best.rank <= rank:
            break
        option = best_option(state, model, suffering, among)
        if option is None:
            continue
        if option.at_s > state.now_s:
            look_again_at(state, option.at_s)
        elif _may_take(state, option) and (best is None or option.rank < best.rank):
            best = option
    if best is not None:
        exchange(state, best.model, best.placement, best.residents)


def _best_rank(state: State, model: ModelState, suffering: Suffering) -> tuple[float, float]:
    """No option of it ranks before this: it would, if its victims cost nothing."""
    if suffering.patience_at_s <= state.now_s:
        return 0.0, suffering.patience_at_s
    return 1.0, -suffering.growth / max(1e-9, parking.load_s(state, model))


def seek_room_for(state: State, model: ModelState) -> None:
    """The same for one model, when only its own queue has changed."""
    if model.name not in state.unplaced:
        return
    patience.reckon(state)
    if start_if_free(state, model) or all_taken(state) or any(plan.model is model for plan in state.plans):
        return
    option = best_option(state, model, suffering_of(state, model), victims(state))
    if option is None or not _may_take(state, option):
        return
    if option.at_s <= state.now_s:
        exchange(state, option.model, option.placement, option.residents)
    else:
        look_again_at(state, option.at_s)


def reconsider(state: State, plan: Plan) -> None:
    """While a victim drains, another may have fallen idle, and leave in its place; else people are served meanwhile."""
    if any(victim.phase != "ready" for victim in plan.victims):
        return
    drains_s = max(remaining_s(state, victim) for victim in plan.victims)
    state.plans.remove(plan)
    option = best_option(state, plan.model, suffering_of(state, plan.model), victims(state))
    state.plans.append(plan)
    if option is not None and option.at_s <= state.now_s and 2 * option.drains_s < drains_s:
        drop(state, plan)
        exchange(state, option.model, option.placement, option.residents)
        go_on(state)
        return
    for victim in plan.victims:
        if victim.drain_until_s <= state.now_s:
            victim.drain_until_s = state.now_s + remaining_s(state, victim, since_s=victim.gated_s)
            fill(state, victim)


def look_again_at(state: State, at_s: float) -> None:
    state.reconsider_s = at_s if state.reconsider_s is None else min(state.reconsider_s, at_s)


def _may_take(state: State, option: Option) -> bool:
    """Not what is kept for who is next; and batch work that can wait takes no memory while people wait for theirs."""
    if is_kept(state, option.model, option.placement):
        return False
    if option.class_ != Class.BATCH or option.impatient:
        return True
    return not any(
        model.queue.groups[Class.INTERACTIVE].count and wants(model, option.placement)
        for model in state.unplaced.values()
    )


def best_option(state: State, model: ModelState, suffering: Suffering, among: Pools) -> Option | None:
    """Check 3. None: nothing can be done now that an event would not tell of."""
    own = model.resident
    if own is not None and own.phase != "ready":
        return None
    slow_too = suffering.patience_at_s <= state.now_s
    planned = planned_devices(state)
    best: Option | None = None
    for placement in suitable_placements(model):
        if placement.speed < state.settings.least_speed and not slow_too:
            look_again_at(state, suffering.patience_at_s)
            continue
        devices = {device for device, _ in placement.shares}
        if devices & planned or link_busy(state, placement) or leases.must_yield(state, model, placement):
            continue
        short = short_bytes(state, placement)
        if not short and own is None:
            return Option(
                model=model,
                placement=placement,
                victims=[],
                at_s=state.now_s,
                class_=suffering.class_,
                impatient=slow_too,
                rank=(1.0, 0.0),
            )
        option = _by_victims(state, model, placement, short, suffering, among)
        if option is not None and (best is None or option.at_s < best.at_s):
            best = option
    return best


def _by_victims(
    state: State,
    model: ModelState,
    placement: Placement,
    short: dict[DeviceId, int],
    suffering: Suffering,
    among: Pools,
) -> Option | None:
    own: list[Victim] = []
    if model.resident is not None:
        if not may_be_replaced(model.resident):
            return None
        own = [replaced(state, model.resident)]
        held = model.resident.bytes_
        short = {device: size - held.get(device, 0) for device, size in short.items() if size > held.get(device, 0)}
        among = among.without(model.resident)
    best: Option | None = None
    for chosen in among.cheapest_sets(short) if short else [[]]:
        option = _priced(state, model, placement, suffering, own + chosen)
        if best is None or option.at_s < best.at_s:
            best = option
    return best


def _priced(
    state: State, model: ModelState, placement: Placement, suffering: Suffering, chosen: list[Victim]
) -> Option:
    settings = state.settings
    load_s = parking.load_s(state, model, placement)
    cost_s = sum(victim.price_s for victim in chosen)
    drain_s = max((victim.drain_s for victim in chosen), default=0.0)
    part = state.pressure.part(state.now_s) / settings.load_pressure
    factor = settings.swap_factor * min(4.0, max(1.0, part))
    growth = max(suffering.growth, 1e-9)
    busy = [victim for victim in chosen if victim.busy and _may_stay(victim, suffering)]
    if busy:
        pays_at_s = state.now_s + (factor * cost_s - suffering.value_s) / growth
        stays_s = quantum_s(state, load_s + drain_s)
        pays_at_s = max(pays_at_s, *(victim.resident.ready_s + stays_s * _claim(victim, suffering) for victim in busy))
        patience_at_s = max(suffering.patience_at_s, *(victim.resident.ready_s + load_s + drain_s for victim in busy))
    else:
        pays_at_s = state.now_s + (0.5 * factor * cost_s - suffering.value_s - suffering.growth * load_s) / growth
        patience_at_s = suffering.patience_at_s
    impatient = suffering.patience_at_s <= state.now_s
    rank = (0.0, suffering.patience_at_s) if impatient else (1.0, -suffering.growth / max(1e-9, load_s + cost_s))
    at_s = min(pays_at_s, patience_at_s)
    return Option(
        model=model,
        placement=placement,
        victims=chosen,
        at_s=at_s,
        class_=suffering.class_,
        impatient=impatient,
        rank=rank,
    )


def _may_stay(victim: Victim, suffering: Suffering) -> bool:
    """What serves only lower classes, or only clients that had far more than their share, has no claim to stay."""
    return victim.class_ <= suffering.class_ and _claim(victim, suffering) >= _LEAST_CLAIM


def _claim(victim: Victim, suffering: Suffering) -> float:
    """How much of its quantum a victim may stay: less, the more of its service goes to those who had more than others."""
    return min(1.0, victim.claim / max(suffering.entitled, 1e-9))
