"""The leases: memory given out to programs that are not models, and who waits for some."""

from __future__ import annotations

from partage.dashboard.numbers import UNKNOWN, seconds
from partage.dashboard.status import Lease, Status
from partage.json_value import JsonObject
from partage.quantities import format_bytes

SHOWN = 50


def leases(status: Status) -> list[JsonObject]:
    """Those held, then those that wait, as the hub orders them."""
    names = {device.id: device.name or device.id for device in status.devices}
    ordered = sorted(status.leases, key=lambda one: (one.state == "waiting", one.position or 0))
    return [_lease(one, names) for one in ordered[:SHOWN]]


def _lease(one: Lease, names: dict[str, str]) -> JsonObject:
    waits = one.state == "waiting"
    where = names.get(one.device, one.device) or "whichever device is free first"
    used = UNKNOWN if one.measured_bytes is None else format_bytes(one.measured_bytes)
    return {
        "id": one.id or one.name,
        "name": one.name,
        "client": one.client,
        "class": one.class_,
        "state": one.state,
        "state_text": "paused by hand" if one.paused_by_hand else _state(one),
        "halted": one.paused_by_hand,
        "held": not waits,
        "where": f"all of {where}" if one.exclusive else f"{format_bytes(one.bytes)} of {where}",
        "used": "" if waits else f"{used} used",
        "over": one.measured_bytes is not None and one.measured_bytes > one.bytes,
        "since": f"{'waits' if waits else 'held'} for {seconds(one.since_s)}",
        "to_come": f"about {seconds(one.predicted_wait_s)} to come"
        if waits and one.predicted_wait_s is not None
        else "",
    }


def _state(one: Lease) -> str:
    match one.state:
        case "waiting":
            return "waits" if one.position is None else f"waits at place {one.position}"
        case "paused":
            return "paused, others have their turn"
        case state:
            return state
