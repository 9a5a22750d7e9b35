"""Reads the hub's GET /admin/status: devices, residents and clients; a key that is missing is no error."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from partage.errors import EngineError
from partage.json_value import JsonObject


class Quantiles(msgspec.Struct, frozen=True):
    p50: float | None = None
    p95: float | None = None
    max: float | None = None


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    id: str = "?"
    name: str = ""
    budget_bytes: int | None = None
    residents_bytes: int | None = None
    """What the models on it hold, by the hub's ledger: as measured, before that as estimated."""


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    model: str = "?"
    devices: list[str] = []
    """More than one where the layers are split."""
    estimated_bytes: int | None = None
    measured_bytes: int | None = None
    load_s: float | None = None
    slots: int | None = None
    context_tokens: int | None = None


class ClientState(msgspec.Struct, frozen=True, kw_only=True):
    name: str = "?"
    class_: str = msgspec.field(default="", name="class")
    requests: int = 0
    refused: int = 0
    failed: int = 0
    output_tokens: int = 0
    queued_s: Quantiles | None = None
    ttft_s: Quantiles | None = None
    tokens_per_s: Quantiles | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    devices: list[DeviceState] = []
    residents: list[Resident] = []
    clients: list[ClientState] = []


def read_status(raw: JsonObject) -> Status:
    """Raises EngineError where a value is of another kind than it was."""
    try:
        return msgspec.convert(raw, Status)
    except msgspec.ValidationError as error:
        raise EngineError(f"the hub's status is not understood: {error}") from error


def all_residents(seen: Iterable[Status]) -> list[Resident]:
    """Every model that was in memory at any time, as it was last seen with its bytes measured."""
    latest: dict[tuple[str, ...], Resident] = {}
    for status in seen:
        for resident in status.residents:
            key = (resident.model, *resident.devices)
            if key not in latest or resident.measured_bytes is not None:
                latest[key] = resident
    return list(latest.values())


def peak_bytes(device: str, seen: Iterable[Status]) -> int | None:
    """The most that models held on a device in any reading; None where the hub does not say."""
    held = (state.residents_bytes for status in seen for state in status.devices if state.id == device)
    return max((held_bytes for held_bytes in held if held_bytes is not None), default=None)
