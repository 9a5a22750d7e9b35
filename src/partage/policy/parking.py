"""The RAM tier: an idle victim's device memory moves to the host's RAM, and back when it is asked for (check 3).

A parked engine keeps its process, its weights and its KV cache, and comes back at the rate of the link, without a reload.
Where the device cannot (`Device.parks`), or the tier has no budget, nothing here changes anything.

- To park delays those who want the memory, by about as long as the copy takes; it pays where the chance of being asked for
  again, times what a return would save, outweighs that.
- The tier has a budget of its own. It counts from the order to park until the engine is gone or back on its device. Who is
  worth less than a newcomer makes room for it, least per byte first; never who is waited for, for whom room is made.
- A parked engine belongs to its model: to start the model in the same placement is to unpark it. It ends like any other,
  by its keep-alive, or because somebody asked.
"""

from __future__ import annotations

from dataclasses import replace

from partage.domain import Placement
from partage.policy import events
from partage.policy.actions import ParkEngine, UnparkEngine
from partage.policy.state import ModelState, Resident, State

_RATE = 10e9  # bytes per second of the link, until a copy has been measured
_NEWER = 0.5  # weight of the newest copy
_FAILURES = 3  # in a row, after which a device is taken to be unable


def copy_s(state: State, resident: Resident) -> float:
    """To move it to RAM, or back."""
    size = sum(resident.bytes_.values())
    rate = min((state.link_rates.get(device, _RATE) for device in resident.bytes_), default=_RATE)
    return size / rate


def load_s(state: State, model: ModelState, placement: Placement | None = None) -> float:
    """What it costs to have the model on its device: a copy where it is parked in that placement, else a load."""
    parked = model.parked
    if parked is not None and placement in {None, parked.placement}:
        return min(model.profile.load_s, copy_s(state, parked))
    return model.profile.load_s


def return_s(state: State, resident: Resident) -> float:
    """What it would cost to have it back, if it left now."""
    full_s = resident.model.profile.load_s
    return min(full_s, copy_s(state, resident)) if may_park(state, resident) else full_s


def may_park(state: State, resident: Resident) -> bool:
    if not state.settings.park_budget_bytes:
        return False
    devices = [state.ledger.devices[device] for device in resident.bytes_ if device in state.ledger.devices]
    size = sum(resident.bytes_.values())
    return (
        0 < size <= state.settings.park_budget_bytes
        and bool(devices)
        and all(device.parks and state.park_failures.get(device.id, 0) < _FAILURES for device in devices)
        and not (resident.leaving or resident.model.forgotten or resident.model.unloaded)
    )


def pays(state: State, resident: Resident) -> bool:
    again = 1.0 if resident.model.queue.count or resident.serving else _again(state, resident)
    saved_s = resident.model.profile.load_s - copy_s(state, resident)
    return saved_s > 0 and again * saved_s >= copy_s(state, resident)


def try_park(state: State, resident: Resident) -> bool:
    """Order it parked, where that is possible and pays. False: it is to be stopped."""
    if not may_park(state, resident) or not pays(state, resident):
        return False
    promised = sum(sum(one.bytes_.values()) for one in state.to_park)
    coming = sum(one.parked_bytes for one in state.parked.values() if one.phase == "stopping")
    short = sum(resident.bytes_.values()) + promised - coming - free_bytes(state)
    dropped: list[Resident] = []
    staying = [one for one in state.parked.values() if one.phase == "parked" and not one.model.wanted]
    for other in sorted(staying, key=lambda one: _value(state, one)):
        if short <= 0 or _value(state, other) >= _value(state, resident):
            break
        dropped.append(other)
        short -= other.parked_bytes
    if short > 0:
        return False
    for other in dropped:
        state.stop(other, f"room in RAM for {resident.model.name}")
    resident.phase, resident.parked_at_s = "parking", state.now_s
    state.to_park.append(resident)
    state.place(resident.model)
    carry_on(state)
    return True


def carry_on(state: State) -> None:
    """Order those parked that the tier has room for by now."""
    for resident in list(state.to_park):
        size = sum(resident.bytes_.values())
        if size <= free_bytes(state):
            state.to_park.remove(resident)
            resident.parked_bytes, resident.parked_at_s = size, state.now_s
            state.out.append(ParkEngine(engine=resident.engine, bytes_=size, mid_answer=resident.busy))


def free_bytes(state: State) -> int:
    return state.settings.park_budget_bytes - held_bytes(state)


def held_bytes(state: State) -> int:
    engines = {**state.residents, **state.parked}
    return sum(resident.parked_bytes for resident in engines.values())


def parked(state: State, event: events.EngineParked) -> Resident | None:
    resident = state.residents.get(event.engine)
    if resident is None or resident.phase != "parking":
        return None
    _measured(state, resident, event.park_s)
    del state.residents[event.engine]
    state.ledger.release(resident.bytes_.items())
    state.parked[event.engine] = resident
    resident.phase, resident.gated = "parked", False
    resident.placement = _as_held(resident)
    model = resident.model
    model.resident, model.parked, model.left_s = None, resident, state.now_s
    state.place(model)
    state.schedule_expiry(resident)
    return resident


def failed(state: State, event: events.EngineParkFailed) -> Resident | None:
    """It could not be parked: it is stopped, as if nobody had thought of it. Or goes on, if it serves."""
    resident = state.residents.get(event.engine)
    if resident is None or resident.phase != "parking":
        return None
    for device in resident.bytes_:
        state.park_failures[device] = state.park_failures.get(device, 0) + 1
    resident.parked_bytes = 0
    if not resident.serving:
        state.stop(resident, f"it could not be parked: {event.reason}")
    carry_on(state)
    return resident


def unpark(state: State, resident: Resident) -> None:
    """As a start: its memory is held from now on, and it shares the link."""
    model = resident.model
    del state.parked[resident.engine]
    state.residents[resident.engine] = resident
    model.resident, model.parked = resident, None
    resident.phase, resident.started_s = "starting", state.now_s
    for plan in state.plans:  # that it left for: what it comes back to is none of theirs
        plan.victims = [victim for victim in plan.victims if victim is not resident]
    state.out.append(UnparkEngine(engine=resident.engine))


def unparked(state: State, event: events.EngineUnparked) -> None:
    """Its copy in RAM is gone. It is ready, as after a load."""
    resident = state.residents.get(event.engine)
    if resident is not None and resident.parked_bytes:
        _measured(state, resident, event.unpark_s)
        resident.parked_bytes = 0
        carry_on(state)


def forget(state: State, resident: Resident) -> None:
    """Its process has ended."""
    resident.parked_bytes = 0
    if resident in state.to_park:
        state.to_park.remove(resident)
    if resident.model.parked is resident:
        resident.model.parked = None
    carry_on(state)


def _as_held(resident: Resident) -> Placement:
    """To come back it needs what it really held, not what was estimated."""
    shares = (
        (device, replace(share, overhead_bytes=share.overhead_bytes + resident.bytes_[device] - share.total_bytes))
        for device, share in resident.placement.shares
    )
    return replace(resident.placement, shares=tuple(shares))


def _again(state: State, resident: Resident) -> float:
    keep_s = state.settings.keep_alive_s if resident.keep_alive_s is None else resident.keep_alive_s
    if keep_s < 0:
        return 1.0
    return resident.model.reuse.probability(state.now_s, keep_s)


def _value(state: State, resident: Resident) -> tuple[float, float]:
    """Per byte of the tier: seconds that it is expected to save; among equals, who was used last."""
    saved_s = max(0.0, resident.model.profile.load_s - copy_s(state, resident))
    worth_s = _again(state, resident) * resident.model.reuse.value * saved_s
    return worth_s / max(1, sum(resident.bytes_.values())), resident.last_used_s


def _measured(state: State, resident: Resident, seconds: float) -> None:
    if seconds <= 0:
        return
    rate = sum(resident.bytes_.values()) / seconds
    for device in resident.bytes_:
        known = state.link_rates.get(device, rate)
        state.link_rates[device] = known + _NEWER * (rate - known)
        state.park_failures.pop(device, None)
