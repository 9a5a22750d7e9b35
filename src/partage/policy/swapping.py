"""Which waiting model gets memory next, and at whose expense (checks 2, 3 and 4).

A swap pays when what the group suffers by waiting outweighs what the victims' leaving costs. Idle victims go at a low price.
Busy ones stay for a quantum at least, so that a load is paid back by service, and leave for a group that suffers much, or
that has lost patience. When the price is not reached yet, the moment at which it will be is known, for waiting grows linearly.

Sources: ski rental with a residency quantum and load-aware quotas (Aegaeon, SOSP'25); request groups (QLM, SoCC'24).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice

from partage.domain import Class, DeviceId, Placement
from partage.policy import leases, parking
from partage.policy.eviction import (
    Pools,
    Victim,
    group_entitlement,
    may_be_replaced,
    most_entitled_of,
    remaining_s,
    replaced,
    victims,
)
from partage.policy.plans import carry_on_plans, drop, exchange, go_on, link_busy, start
from partage.policy.serving import fill
from partage.policy.state import ModelState, Plan, Resident, State

_LEAST_CLAIM = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to give a waiting model memory by taking it from others, and from when on it is right."""

    model: ModelState
    placement: Placement
    victims: list[Victim]
    at_s: float
    rank: tuple[float, float]
    """The smallest first: groups without patience by their age, then by least value for what it costs."""

    @property
    def residents(self) -> list[Resident]:
        return [victim.resident for victim in self.victims]

    @property
    def drains_s(self) -> float:
        return max((victim.remains_s for victim in self.victims), default=0.0)


@dataclass(frozen=True, slots=True)
class Suffering:
    """What those who wait for a model weigh, now and as it grows."""

    value_s: float
    """Sum of value x seconds waited."""
    growth: float
    """Sum of values: how much it grows per second."""
    patience_at_s: float
    """When the first of its groups loses patience."""
    class_: Class
    """The highest of those who wait."""
    entitled: float
    """Of the client among them that received least of late."""


def seek_room(state: State) -> None:
    """Start what fits and plan the swap that is worth most, among those that have waited longest."""
    state.reconsider_s = None
    carry_on_plans(state)
    for plan in list(state.plans):
        reconsider(state, plan)
    if not state.unplaced:
        bring_back(state)
        return
    without: list[ModelState] = []
    room = _room_bytes(state)
    for model in leases.in_order(state, islice(state.unplaced.values(), 4 * state.settings.candidates)):
        if (
            model.resident is None and model.not_before_s <= state.now_s and model.least_bytes > room
        ) or not start_if_free(state, model):
            without.append(model)
        else:
            room = _room_bytes(state)
    if not without or _all_taken(state):
        return
    among = victims(state)
    options = [best_option(state, model, among) for model in without[: state.settings.candidates]]
    ripe = [option for option in options if option is not None and option.at_s <= state.now_s]
    for option in options:
        if option is not None and option.at_s > state.now_s:
            look_again_at(state, option.at_s)
    if ripe:
        best = min(ripe, key=lambda option: option.rank)
        exchange(state, best.model, best.placement, best.residents)


def seek_room_for(state: State, model: ModelState) -> None:
    """The same for one model, when only its own queue has changed."""
    if model.name not in state.unplaced or start_if_free(state, model) or _all_taken(state):
        return
    option = best_option(state, model, victims(state))
    if option is None:
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
    option = best_option(state, plan.model, victims(state))
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


def _all_taken(state: State) -> bool:
    """Every device is being loaded or swapped already."""
    taken = _planned_devices(state)
    return all(device in taken or state.loading.get(device) for device in state.ledger.devices)


def start_if_free(state: State, model: ModelState) -> bool:
    """Check 2: free memory, after what is set aside for a swap on its way. True also where nothing can be done now."""
    if model.resident is not None:
        return model.resident.phase != "ready"
    if model.not_before_s > state.now_s:
        return True
    suitable = suitable_placements(model)
    alike = [one for one in suitable if one.settings == suitable[0].settings and one.speed == suitable[0].speed]
    fitting = [one for one in alike if _fits_free(state, one) and not leases.must_yield(state, model, one)]
    if not fitting:
        return False
    place = min(fitting, key=lambda one: (parking.load_s(state, model, one), _crowd(state, one)))
    if model.lease is None and link_busy(state, place):
        return True
    start(state, model, place, "fits free memory")
    return True


def suitable_placements(model: ModelState) -> list[Placement]:
    """Those with room for the longest context asked for, as far as the machine has any; the best first.

    The one it is parked in is the best of all: nothing has to be loaded.
    """
    allowed = [
        one
        for one in model.profile.placements
        if model.too_large_bytes is None or one.total_bytes < model.too_large_bytes
    ]
    if model.parked is not None:
        parked = model.parked.placement
        allowed = [parked, *(one for one in allowed if one != parked)]
    for need in sorted(model.queue.contexts, reverse=True):
        enough = [one for one in allowed if one.settings.context_tokens >= need]
        if enough:
            return enough
    return allowed


def best_option(state: State, model: ModelState, among: Pools) -> Option | None:
    """Check 3. None: nothing can be done now that an event would not tell of."""
    own = model.resident
    if own is not None and own.phase != "ready":
        return None
    suffering = suffering_of(state, model)
    slow_too = suffering.patience_at_s <= state.now_s
    planned = _planned_devices(state)
    best: Option | None = None
    for placement in suitable_placements(model):
        if placement.speed < state.settings.least_speed and not slow_too:
            look_again_at(state, suffering.patience_at_s)
            continue
        devices = {device for device, _ in placement.shares}
        if devices & planned or link_busy(state, placement) or leases.must_yield(state, model, placement):
            continue
        short = _short(state, placement)
        if not short and own is None:
            return Option(model=model, placement=placement, victims=[], at_s=state.now_s, rank=(1.0, 0.0))
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
    return Option(model=model, placement=placement, victims=chosen, at_s=at_s, rank=rank)


def _may_stay(victim: Victim, suffering: Suffering) -> bool:
    """What serves only lower classes, or only clients that had far more than their share, has no claim to stay."""
    return victim.class_ <= suffering.class_ and _claim(victim, suffering) >= _LEAST_CLAIM


def _claim(victim: Victim, suffering: Suffering) -> float:
    """How much of its quantum a victim may stay: less, the more of its service goes to those who had more than others."""
    return min(1.0, victim.claim / max(suffering.entitled, 1e-9))


def quantum_s(state: State, switch_s: float) -> float:
    """How long a busy model stays, so that loading takes no more than the allowed part of the time.

    The more of the recent time went into loading, the smaller that part: from exchanging eagerly to serving exhaustively.
    """
    least, most = state.settings.load_part
    pressed = min(1.0, state.pressure.part(state.now_s) / state.settings.load_pressure)
    part = most - (most - least) * pressed
    return switch_s * (1 - part) / part


def suffering_of(state: State, model: ModelState) -> Suffering:
    settings, queue, now_s = state.settings, model.queue, state.now_s
    value_s = growth = 0.0
    patience_at_s = math.inf
    highest, most_entitled = Class.BATCH, 0.0
    lead_s = (
        parking.load_s(state, model) if model.resident is None else 0.0
    )  # cannot be in time if they are not after the load
    for group in queue.groups:
        if not group.count:
            continue
        group.grow_old(now_s + lead_s)
        highest = min(highest, group.class_)
        entitled = group_entitlement(state, group)
        most_entitled = max(most_entitled, most_entitled_of(state, group))
        value = settings.class_values[group.class_] * entitled
        late_value = value * settings.late_value
        value_s += value * (group.timely_count * now_s - group.timely_arrived_s)
        value_s += late_value * (group.late_count * now_s - group.late_arrived_s)
        growth += value * group.timely_count + late_value * group.late_count
        patience_at_s = min(patience_at_s, (group.oldest_s() or 0.0) + group.patience_s)
    for waiting in (*queue.loads.values(), *queue.outgrown.values()):
        class_ = waiting.demand.class_
        highest, most_entitled = min(highest, class_), 1.0
        value_s += settings.class_values[class_] * (now_s - waiting.arrived_s)
        growth += settings.class_values[class_]
        patience_at_s = min(patience_at_s, waiting.arrived_s + settings.patience_s[class_])
    return Suffering(value_s, growth, patience_at_s, highest, most_entitled)


def bring_back(state: State) -> None:
    """Nobody waits and memory is free: a model that had to leave returns, if it is likely to be asked for soon."""
    if state.plans or any(state.loading.values()):
        return
    settings = state.settings
    best: tuple[float, ModelState, Placement] | None = None
    for name, model in list(islice(state.displaced.items(), settings.candidates)):
        again = model.reuse.probability(state.now_s, settings.reuse_horizon_s)
        if model.resident is not None or model.unloaded or model.forgotten or again < settings.prewarm_chance:
            del state.displaced[name]
            continue
        fitting = [one for one in suitable_placements(model)[:1] if _fits_free(state, one)]
        gain = again * model.reuse.value * parking.load_s(state, model)
        if fitting and (best is None or gain > best[0]):
            best = (gain, model, fitting[0])
    if best is not None:
        start(state, best[1], best[2], "memory is free and it is likely to be asked for soon")


def _planned_devices(state: State) -> set[DeviceId]:
    return {device for plan in state.plans for device, _ in plan.placement.shares}


def _room_bytes(state: State) -> int:
    return sum(max(0, state.ledger.free_bytes(device)) for device in state.ledger.devices)


def _fits_free(state: State, placement: Placement) -> bool:
    return not _short(state, placement)


def _short(state: State, placement: Placement) -> dict[DeviceId, int]:
    """What is missing on each device, if what plans have been promised is left alone."""
    short: dict[DeviceId, int] = {}
    for device, share in placement.shares:
        lacking = share.total_bytes + _promised(state, device) - state.ledger.free_bytes(device)
        if lacking > 0:
            short[device] = lacking
    return short


def _promised(state: State, device: DeviceId) -> int:
    promised = 0
    for plan in state.plans:
        coming = sum(one.bytes_.get(device, 0) for one in plan.victims if one.engine in state.residents)
        promised += max(0, plan.placement.bytes_on(device) - coming)
    return promised


def _crowd(state: State, placement: Placement) -> tuple[int, int]:
    """Fewest engines beside it, then the tightest fit."""
    devices = {device for device, _ in placement.shares}
    beside = sum(not devices.isdisjoint(one.bytes_) for one in state.residents.values())
    return beside, sum(state.ledger.free_bytes(device) for device in devices)
