"""Memory that nobody has to leave for: what is free, whom it is promised to or kept for, and who takes it (check 2)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from partage.domain import DeviceId, Placement
from partage.policy import leases, parking
from partage.policy.plans import link_busy, start
from partage.policy.state import ModelState, Resident, State
from partage.policy.suitable import suitable_placements


def start_if_free(state: State, model: ModelState) -> bool:
    """Check 2: free memory, after what is set aside for a swap on its way. True also where nothing can be done now."""
    if model.resident is not None:
        return model.resident.phase != "ready"
    if model.not_before_s > state.now_s:
        return True
    suitable = suitable_placements(model)
    alike = [one for one in suitable if one.settings == suitable[0].settings and one.speed == suitable[0].speed]
    fitting = [
        one
        for one in alike
        if fits_free(state, one) and not leases.must_yield(state, model, one) and not is_kept(state, model, one)
    ]
    if not fitting:
        return False
    place = fitting[0]
    if len(fitting) > 1:
        place = min(fitting, key=lambda one: (parking.load_s(state, model, one), _crowd(state, one)))
    if model.lease is None and link_busy(state, place):
        return True
    start(state, model, place, "fits free memory")
    return True


def choose_next(state: State, waiting: Iterable[tuple[ModelState, float]]) -> None:
    """Of (model, when it loses patience): the first to have lost it, of those that could get room in the end, is next.

    Nobody smaller or quicker takes its memory while those leave that must: it would wait for ever.
    """
    late = sorted(
        (patience_at_s, model.name, model) for model, patience_at_s in waiting if patience_at_s <= state.now_s
    )
    fitting = (model for *_, model in late if any(_fits_in_the_end(state, one) for one in suitable_placements(model)))
    state.next_up = next(fitting, None)


def is_kept(state: State, model: ModelState, placement: Placement) -> bool:
    """Whether the memory is for another, who is next."""
    other = state.next_up
    if other is None or other is model or other.name not in state.unplaced or other.resident is not None:
        return False
    return wants(other, placement)


def wants(model: ModelState, placement: Placement) -> bool:
    """Whether the model could be loaded where that placement is."""
    devices = {device for device, _ in placement.shares}
    return any(device in devices for one in suitable_placements(model) for device, _ in one.shares)


def _fits_in_the_end(state: State, placement: Placement) -> bool:
    """Once all have left that may."""
    return all(
        share.total_bytes
        <= state.ledger.free_bytes(device)
        + sum(one.bytes_.get(device, 0) for one in state.residents.values() if _leaves_sometime(state, one))
        for device, share in placement.shares
    )


def _leaves_sometime(state: State, resident: Resident) -> bool:
    return resident.model.lease is None and not state.is_pinned(resident) and not resident.stands_still


def bring_back(state: State) -> None:
    """Nobody waits and memory is free: a model that had to leave returns, if it is likely to be asked for soon."""
    if state.plans or any(state.loading.values()):
        return
    settings = state.settings
    best: tuple[float, ModelState, Placement] | None = None
    for name, model in list(islice(state.displaced.items(), settings.candidates)):
        again = model.reuse.probability(state.now_s, settings.reuse_horizon_s)
        if model.resident is not None or model.unloaded or model.halted or again < settings.prewarm_chance:
            del state.displaced[name]
            continue
        fitting = [one for one in suitable_placements(model)[:1] if fits_free(state, one)]
        gain = again * model.reuse.value * parking.load_s(state, model)
        if fitting and (best is None or gain > best[0]):
            best = (gain, model, fitting[0])
    if best is not None:
        start(state, best[1], best[2], "memory is free and it is likely to be asked for soon")


def all_taken(state: State) -> bool:
    """Every device is being loaded or swapped already."""
    taken = planned_devices(state)
    return all(device in taken or state.loading.get(device) for device in state.ledger.devices)


def planned_devices(state: State) -> set[DeviceId]:
    return {device for plan in state.plans for device, _ in plan.placement.shares}


def room_bytes(state: State) -> int:
    """Free, and promised to nobody; none while every device is being loaded, for what fits must wait for its link."""
    ledger = state.ledger
    if all(state.loading.get(device) for device in ledger.devices):
        return 0
    return sum([max(0, ledger.free_bytes(device) - promised_bytes(state, device)) for device in ledger.devices])


def fits_free(state: State, placement: Placement) -> bool:
    return not short_bytes(state, placement)


def short_bytes(state: State, placement: Placement) -> dict[DeviceId, int]:
    """What is missing on each device, if what plans have been promised is left alone."""
    short: dict[DeviceId, int] = {}
    for device, share in placement.shares:
        lacking = share.total_bytes + promised_bytes(state, device) - state.ledger.free_bytes(device)
        if lacking > 0:
            short[device] = lacking
    return short


def promised_bytes(state: State, device: DeviceId) -> int:
    """What planned loads need there beyond what their victims will free: nobody else may have it."""
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
