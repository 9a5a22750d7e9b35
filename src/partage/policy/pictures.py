"""Draws the views (views.py) from the state: for the admin API, never for decisions."""

from __future__ import annotations

from partage.policy import parking
from partage.policy.admission import predicted_wait_s
from partage.policy.room import promised_bytes
from partage.policy.state import ModelState, State
from partage.policy.views import ClientView, DeviceView, LeaseView, QueuedView, ResidentView, TierView


def queue(state: State) -> tuple[QueuedView, ...]:
    return tuple(
        view
        for model in state.models.values()
        if model.queue.count and model.lease is None
        for view in _queue_of(state, model.name)
    )


def _queue_of(state: State, name: str) -> list[QueuedView]:
    model = state.models[name]
    views: list[QueuedView] = []
    ahead_s = 0.0
    for position, waiting in enumerate(model.queue.waiting(), start=1):
        demand = waiting.demand
        views.append(
            QueuedView(
                request=demand.id,
                model=name,
                client=demand.client,
                class_=demand.class_,
                position=position,
                waited_s=state.now_s - waiting.arrived_s,
                predicted_wait_s=predicted_wait_s(state, model, demand.class_, ahead_s),
            )
        )
        ahead_s += waiting.work_s
    return views


def ledger(state: State) -> tuple[DeviceView, ...]:
    loading: dict[str, int] = {}
    leased: dict[str, int] = {}
    for resident in state.residents.values():
        if resident.phase == "starting":
            for device, size in resident.bytes_.items():
                loading[device] = loading.get(device, 0) + size
    for resident in state.leases.values():
        for device, size in resident.bytes_.items():
            leased[device] = leased.get(device, 0) + size
    return tuple(
        DeviceView(
            device=device.id,
            capacity_bytes=device.budget_bytes,
            strangers_bytes=state.ledger.strangers_bytes(device.id),
            residents_bytes=state.ledger.held.get(device.id, 0) - loading.get(device.id, 0) - leased.get(device.id, 0),
            leases_bytes=leased.get(device.id, 0),
            loading_bytes=loading.get(device.id, 0),
            promised_bytes=promised_bytes(state, device.id),
            free_bytes=state.ledger.free_bytes(device.id),
        )
        for device in state.ledger.devices.values()
    )


def residents(state: State) -> tuple[ResidentView, ...]:
    return tuple(
        ResidentView(
            engine=resident.engine,
            model=resident.model.name,
            phase=resident.phase,
            placement=resident.placement,
            bytes_=tuple(resident.bytes_.items()) if resident.engine in state.residents else (),
            parked_bytes=resident.parked_bytes,
            serving=len(resident.serving),
            slots=resident.slots,
            gated=resident.gated,
            paused=resident.paused,
            halted=resident.model.halted,
            pinned=state.is_pinned(resident),
            last_used_s=resident.last_used_s,
            expires_at_s=state.expires_at_s(resident),
        )
        for resident in (*state.residents.values(), *state.parked.values())
        if resident.model.lease is None
    )


def leases(state: State) -> tuple[LeaseView, ...]:
    """Those held, then those that wait, in the order in which they came."""
    held = [_lease_of(state, one.model) for one in state.leases.values()]
    waiting = [
        _lease_of(state, model, position)
        for position, model in enumerate(state.unplaced.values(), start=1)
        if model.lease is not None
    ]
    return (*held, *waiting)


def _lease_of(state: State, model: ModelState, position: int | None = None) -> LeaseView:
    lease, resident = model.lease, model.resident
    assert lease is not None
    return LeaseView(
        lease=lease.id,
        client=lease.client,
        class_=lease.class_,
        exclusive=lease.exclusive,
        engine=resident.engine if resident else None,
        device=next(iter(resident.bytes_)) if resident else lease.device,
        bytes_=sum(resident.bytes_.values()) if resident else lease.bytes_,
        since_s=resident.ready_s if resident else state.requests[lease.id].arrived_s,
        position=position,
        predicted_wait_s=None if resident else predicted_wait_s(state, model, lease.class_, 0.0),
        leased_bytes=resident.placement.total_bytes if resident else lease.bytes_,
        paused=resident.paused if resident else False,
        halted=model.halted,
    )


def tier(state: State) -> TierView:
    return TierView(budget_bytes=state.settings.park_budget_bytes, held_bytes=parking.held_bytes(state))


def clients(state: State) -> tuple[ClientView, ...]:
    return tuple(
        ClientView(
            name=account.name,
            class_=account.class_,
            weight=account.weight,
            queued=account.queued,
            serving=account.serving,
            virtual_s=account.virtual_s,
            served_s=account.served_s,
        )
        for account in state.accounts.by_name.values()
    )
