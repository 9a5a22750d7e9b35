"""Leases: memory of a device for a program that is not ours, by the rules that hold for models.

A lease is a model of its own: one request that waits for it, a placement for each device it may have, and nothing to load.
What makes room for models, what they are promised, who goes first, what is refused and how long anybody waits is therefore
the same for leases, and here is only what differs: it is granted where a model would be started, its one request is served
until it ends, and its client is charged for what it holds as time goes by. A holder is never a victim (eviction.may_leave).
"""

from __future__ import annotations

from collections.abc import Iterable

from partage.domain import Class, Device, DeviceId, Footprint, LaunchSettings, Placement, RequestId
from partage.policy import patience, turns
from partage.policy.actions import GrantLease
from partage.policy.events import Demand, LeaseDemand, ModelProfile
from partage.policy.state import ModelState, Resident, State
from partage.policy.waiting import Waiting

CHARGE_EVERY_S = 1.0
_TELLING_S = 0.1  # what stands for the load: until the holder has heard of its grant
_GOES_ON = 0.5  # of the time it has been held: nobody says for how long a lease will be


def waits_as(lease: RequestId) -> str:
    """The name of the model that stands for it."""
    return f"lease:{lease}"


def enter(state: State, lease: LeaseDemand) -> Demand:
    """The model that stands for the lease, and the one request for it."""
    model = state.new_model(_profile(state, lease))
    model.learn(model.profile)
    model.lease = lease
    return Demand(
        id=lease.id,
        model=model.name,
        client=lease.client,
        class_=lease.class_,
        weight=lease.weight,
        max_concurrent=state.accounts.of(lease.client).max_concurrent,
        max_wait_s=lease.max_wait_s,
    )


def refit(state: State, device: DeviceId) -> None:
    """What an exclusive lease must find free is all that others, who are not ours, leave of the device now."""
    for model in list(state.unplaced.values()):
        if model.lease is not None and model.lease.exclusive and model.lease.device in {None, device}:
            model.learn(_profile(state, model.lease))
            for plan in state.plans:
                if plan.model is model:  # what its victims free may not be all of the device any more
                    place, _ = plan.placement.shares[0]
                    plan.placement = next(one for one in model.profile.placements if one.shares[0][0] == place)


def grant(state: State, resident: Resident) -> None:
    """In place of a start: the engine is ready at once, and serves its one request until the lease ends."""
    lease = resident.model.lease
    assert lease is not None
    waiting = state.requests[lease.id]
    state.dequeue(waiting)
    resident.phase, resident.ready_s, resident.last_used_s = "ready", state.now_s, state.now_s
    waiting.engine, waiting.served_at_s = resident.engine, state.now_s
    waiting.account.leases += 1
    resident.serving[lease.id] = waiting
    resident.by_class[lease.class_] += 1
    turns.joins(state, resident)
    state.leases[resident.engine] = resident
    for device, size in resident.bytes_.items():
        if lease.exclusive:
            state.ledger.closed.add(device)
        state.out.append(GrantLease(lease=lease.id, engine=resident.engine, device=device, bytes_=size))


def release(state: State, waiting: Waiting) -> None:
    """Before its engine is forgotten: the last of its charge, and the device is open again."""
    resident = state.leases.pop(waiting.engine or "")
    _charge(state, resident, waiting)
    waiting.account.leases -= 1
    lease = resident.model.lease
    if lease is not None and lease.exclusive:
        state.ledger.closed -= resident.bytes_.keys()


def charge(state: State) -> None:
    """What is held costs its part of the device, every second, whether the holder computes or not."""
    for resident in state.leases.values():
        if state.now_s - resident.last_used_s >= CHARGE_EVERY_S:
            for waiting in resident.serving.values():
                _charge(state, resident, waiting)


def _charge(state: State, resident: Resident, waiting: Waiting) -> None:
    part = max(
        (
            size / max(1, state.ledger.devices[device].budget_bytes)
            for device, size in resident.bytes_.items()
            if device in state.ledger.devices
        ),
        default=0.0,
    )
    gpu_s = (state.now_s - resident.last_used_s) * min(1.0, part)
    resident.last_used_s = state.now_s
    waiting.charged_s += gpu_s
    state.accounts.charge(waiting.account, gpu_s, state.now_s)


def in_order(state: State, waiting: Iterable[ModelState]) -> list[ModelState]:
    """Who may have free memory first: by arrival; where somebody wants a lease, which will not leave again, by class.

    Whoever has lost patience goes before all classes.
    """
    models = list(waiting)
    if any(model.lease is not None for model in models):
        models.sort(key=lambda model: _rank(state, model))
    return models


def must_yield(state: State, model: ModelState, placement: Placement) -> bool:
    """No lease goes before somebody who has lost patience and waits for what holders of leases have on that device.

    Small leases could take turns at keeping it from a large one for ever.
    """
    if model.lease is None:
        return False
    mine_s = patience.ends_at_s(state, model)
    devices = {device for device, _ in placement.shares}
    for other in state.unplaced.values():
        theirs_s = patience.ends_at_s(state, other)
        if other is model or theirs_s > state.now_s or theirs_s >= mine_s:
            continue
        soonest = min(other.profile.placements, key=lambda one: _held_for_s(state, one), default=None)
        if soonest is not None and not devices.isdisjoint(device for device, _ in soonest.shares):
            return True
    return False


def _rank(state: State, model: ModelState) -> int:
    if patience.ends_at_s(state, model) <= state.now_s:
        return -1
    return min((one.demand.class_ for one in model.queue.waiting()), default=Class.BATCH)


def in_the_way_s(state: State, model: ModelState) -> float:
    """How long holders of leases are expected to keep what the model needs; 0 where it finds room without it."""
    return min((_held_for_s(state, placement) for placement in model.profile.placements), default=0.0)


def _held_for_s(state: State, placement: Placement) -> float:
    longest_s = 0.0
    for device, share in placement.shares:
        known = state.ledger.devices.get(device)
        if known is None:
            continue
        holders = [one for one in state.leases.values() if one.bytes_.get(device)]
        room = known.budget_bytes - state.ledger.strangers_bytes(device) - sum(one.bytes_[device] for one in holders)
        for holder in sorted(holders, key=lambda one: -one.ready_s):  # who came last is expected to go first
            if room >= share.total_bytes:
                break
            room += holder.bytes_[device]
            longest_s = max(longest_s, _GOES_ON * (state.now_s - holder.ready_s))
    return longest_s


def _profile(state: State, lease: LeaseDemand) -> ModelProfile:
    return ModelProfile(
        model=waits_as(lease.id),
        placements=tuple(_placement(state, lease, device) for device in _allowed(state, lease)),
        load_s=_TELLING_S,
    )


def _allowed(state: State, lease: LeaseDemand) -> list[Device]:
    devices = list(state.ledger.devices.values())
    if lease.device is not None:
        return [device for device in devices if device.id == lease.device]
    return [device for device in devices if device.kind == "cuda"] or devices


def _threads(lease: LeaseDemand, device: Device) -> int:
    """It takes turns at the host's cores as an engine does, for as long as it is held: who knows when it computes."""
    if device.kind != "host":
        return 0
    return device.cores if lease.cores is None else lease.cores


def _placement(state: State, lease: LeaseDemand, device: Device) -> Placement:
    size = lease.bytes_
    if lease.exclusive:
        size = max(size, device.budget_bytes - state.ledger.strangers_bytes(device.id))
    return Placement(
        settings=LaunchSettings(context_tokens=0, slots=1, threads=_threads(lease, device)),
        shares=((device.id, Footprint(overhead_bytes=size)),),
    )
