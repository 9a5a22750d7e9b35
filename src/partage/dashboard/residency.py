"""The timeline of residency: which model or lease was in which memory when, and why it came, stood still and went."""

from __future__ import annotations

from partage.dashboard.numbers import count, seconds
from partage.dashboard.shades import Shades
from partage.dashboard.status import Status, Stay
from partage.json_value import JsonObject
from partage.quantities import format_bytes

KEPT_S = 3600.0


def timeline(status: Status, shades: Shades) -> JsonObject:
    """Lanes by model, spans within; times in seconds on the hub's clock, which the page keeps running by itself."""
    names = {device.id: device.name or device.id for device in status.devices}
    lanes: dict[str, list[Stay]] = {}
    for stay in sorted(status.stays, key=lambda stay: stay.started_s):
        lanes.setdefault(f"lease {stay.model}" if stay.lease else stay.model, []).append(stay)
    return {
        "lanes": [
            {
                "model": model,
                "tone": None if stays[0].lease else shades.of(model),
                "spans": [_span(stay, names) for stay in stays],
            }
            for model, stays in lanes.items()
        ],
        "swaps": sum(stay.ended_s is not None and not stay.lease for stay in status.stays),
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
        "load": "" if stay.ready_s is None or stay.lease else f"loaded in {seconds(stay.ready_s - stay.started_s)}",
        "came": stay.came,
        "left": stay.left,
        "pauses": [
            {"from_s": round(one.from_s, 2), "to_s": None if one.to_s is None else round(one.to_s, 2)}
            for one in stay.pauses
        ],
        "paused": _paused(stay),
    }


def _paused(stay: Stay) -> str:
    """In words: the one that lasts, else how long the last of them were in all."""
    if not stay.pauses:
        return ""
    by_hand = ", by hand" if stay.pauses[-1].reason == "hand" else ""
    if stay.pauses[-1].to_s is None:
        return f"paused now{by_hand}"
    whole_s = sum(one.to_s - one.from_s for one in stay.pauses if one.to_s is not None)
    return f"paused for {seconds(whole_s)} in {count(len(stay.pauses), 'long pause')}{by_hand}"
