"""The timeline of residency: which model was in which memory when, and why it came and went."""

from __future__ import annotations

from partage.dashboard.numbers import seconds
from partage.dashboard.shades import Shades
from partage.dashboard.status import Status, Stay
from partage.domain import JsonObject
from partage.quantities import format_bytes

KEPT_S = 3600.0


def timeline(status: Status, shades: Shades) -> JsonObject:
    """Lanes by model, spans within; times in seconds on the hub's clock, which the page keeps running by itself."""
    names = {device.id: device.name or device.id for device in status.devices}
    lanes: dict[str, list[Stay]] = {}
    for stay in sorted(status.stays, key=lambda stay: stay.started_s):
        lanes.setdefault(stay.model, []).append(stay)
    return {
        "lanes": [
            {"model": model, "tone": shades.of(model), "spans": [_span(stay, names) for stay in stays]}
            for model, stays in lanes.items()
        ],
        "swaps": sum(stay.ended_s is not None for stay in status.stays),
        "failures": sum(stay.failed for stay in status.stays),
    }


def _span(stay: Stay, names: dict[str, str]) -> JsonObject:
    return {
        "engine": stay.engine,
        "from_s": round(stay.started_s, 2),
        "ready_s": None if stay.ready_s is None else round(stay.ready_s, 2),
        "to_s": None if stay.ended_s is None else round(stay.ended_s, 2),
        "failed": stay.failed,
        "where": ", ".join(f"{format_bytes(size)} on {names.get(id_, id_)}" for id_, size in stay.devices.items()),
        "load": "" if stay.ready_s is None else f"loaded in {seconds(stay.ready_s - stay.started_s)}",
        "came": stay.came,
        "left": stay.left,
    }
