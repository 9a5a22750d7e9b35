"""The memory map: every device as one bar, and the models that are in it by part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from partage.dashboard.numbers import count, rate, seconds
from partage.dashboard.shades import Shades
from partage.dashboard.status import Device, Gpu, Resident, Share, Status
from partage.json_value import JsonObject
from partage.quantities import format_bytes

PARTS = (("weights", "weights"), ("kv", "KV cache"), ("compute", "compute"), ("overhead", "process"))
STATES = {
    "ready": "ready",
    "loading": "loading",
    "draining": "leaving soon",
    "stopping": "leaving",
    "paused": "paused, others have their turn",
    "parking": "on its way to RAM",
    "parked": "in RAM",
}


def memory_map(status: Status, shades: Shades, gpus: Mapping[str, Gpu] | None = None) -> list[JsonObject]:
    """One entry per device: its bar as segments whose shares add up to 1, in words, and the models on it."""
    devices = [_device(device, status, shades, (gpus or {}).get(device.id)) for device in status.devices]
    return [*devices, _tier(status, shades)] if status.parked.budget_bytes else devices


def _device(device: Device, status: Status, shades: Shades, gpu: Gpu | None) -> JsonObject:
    here = [(one, share) for one in status.residents for share in one.memory if share.device == device.id]
    segments = [*_models(here, shades), *_others(device, status)]
    used = sum(size for _, size in segments)
    free = max(0, device.budget_bytes - used)
    reserve = max(0, device.total_bytes - device.budget_bytes)
    segments += [(_segment("free", "Free", free), free), (_segment("reserve", "Never given out", reserve), reserve)]
    whole = sum(size for _, size in segments) or 1
    return {
        "id": device.id,
        "name": device.name or device.id,
        "kind": device.kind,
        "facts": [*_facts(gpu)],
        "used": format_bytes(used),
        "budget": format_bytes(device.budget_bytes),
        "free": format_bytes(free),
        "segments": [segment | {"share": size / whole} for segment, size in segments if size > 0],
        "words": _words(device, here, used),
        "models": [_model(one, share, shades) for one, share in here],
    }


def _tier(status: Status, shades: Shades) -> JsonObject:
    """The RAM in which models wait that had to leave a GPU, drawn as a device."""
    here = [(one, Share(device="parked", held_bytes=one.parked_bytes)) for one in status.residents if one.parked_bytes]
    free = max(0, status.parked.budget_bytes - status.parked.held_bytes)
    segments = [*_models(here, shades), (_segment("free", "Free", free), free)]
    whole = sum(size for _, size in segments) or 1
    device = Device(id="parked", name="Parked in RAM", budget_bytes=status.parked.budget_bytes)
    return {
        "id": device.id,
        "name": device.name,
        "kind": "parked",
        "facts": [],
        "used": format_bytes(status.parked.held_bytes),
        "budget": format_bytes(device.budget_bytes),
        "free": format_bytes(free),
        "segments": [segment | {"share": size / whole} for segment, size in segments if size > 0],
        "words": _words(device, here, status.parked.held_bytes),
        "models": [_model(one, share, shades) for one, share in here],
    }


def _models(here: Sequence[tuple[Resident, Share]], shades: Shades) -> Iterator[tuple[JsonObject, int]]:
    for one, share in here:
        for part, size in parts_of(share).items():
            label = f"{one.model}: {dict(PARTS)[part]}"
            yield (
                _segment(part, label, size)
                | {"engine": one.engine, "tone": shades.of(one.model), "loading": one.state == "loading"},
                size,
            )


def _others(device: Device, status: Status) -> Iterator[tuple[JsonObject, int]]:
    for lease in status.leases:
        if lease.device == device.id and lease.state != "waiting":
            yield _segment("lease", f"Lease: {lease.name}", lease.bytes), lease.bytes
    yield _segment("strangers", "Other programs", device.strangers_bytes), device.strangers_bytes
    yield _segment("promised", "Set aside for a load", device.promised_bytes), device.promised_bytes


def _segment(kind: str, label: str, size: int) -> JsonObject:
    return {"kind": kind, "label": label, "size": format_bytes(size)}


def parts_of(share: Share) -> dict[str, int]:
    """The estimate's parts, in the same proportion in what is really held."""
    estimated = {part: int(getattr(share, f"{part}_bytes")) for part, _ in PARTS}
    total = sum(estimated.values())
    if total == 0:
        return {"weights": share.held_bytes}
    return {part: round(size * share.held_bytes / total) for part, size in estimated.items() if size}


def _model(one: Resident, share: Share, shades: Shades) -> JsonObject:
    parts = parts_of(share)
    return {
        "engine": one.engine,
        "model": one.model,
        "tone": shades.of(one.model),
        "state": one.state,
        "state_text": state_text(one),
        "halted": one.paused_by_hand,
        "size": format_bytes(share.held_bytes),
        "measured": one.measured_bytes is not None,
        "parts": [
            {"kind": part, "label": label, "size": format_bytes(parts[part])} for part, label in PARTS if part in parts
        ],
        "serving": f"{one.serving} of {one.slots}",
        "context": f"{one.context_tokens:,}".replace(",", " "),
        "pinned": one.pinned,
        "stays": _stays(one),
    }


def state_text(one: Resident) -> str:
    state = "paused" if one.paused_by_hand else STATES.get(one.state, one.state)
    return f"{state} {one.how}".rstrip()


def _stays(one: Resident) -> str:
    if one.pinned:
        return "pinned"
    if one.expires_in_s is None:
        return "until its memory is wanted"
    return "being used" if one.serving else f"{seconds(one.expires_in_s)} more if unused"


def _facts(gpu: Gpu | None) -> list[str]:
    if gpu is None:
        return []
    facts = (
        (gpu.utilisation_percent, "{} % busy"),
        (gpu.temperature_c, "{} °C"),
        (gpu.power_w, "{} W"),
    )
    return [text.format(rate(value)) for value, text in facts if value is not None]


def _words(device: Device, here: Sequence[tuple[Resident, Share]], used: int) -> str:
    """The bar for those who do not see it."""
    name = device.name or device.id
    held = f"{name}: {format_bytes(used)} of {format_bytes(device.budget_bytes)} in use, {count(len(here), 'model')}"
    models = ", ".join(f"{one.model} {format_bytes(share.held_bytes)}" for one, share in here)
    return f"{held}: {models}" if models else held
