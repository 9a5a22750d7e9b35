"""All that the policy remembers: devices and the memory ledger, models, engines, and who waits or is served."""

from __future__ import annotations

from dataclasses import dataclass, field

from partage.domain import Device, DeviceId, EngineId, Placement, RequestId
from partage.policy.events import Demand, ModelProfile
from partage.policy.views import Phase


@dataclass(slots=True)
class Waiting:
    """One request, from arrival to its end; while it is served, `engine` names where."""

    demand: Demand
    arrived_s: float
    sequence: int
    engine: EngineId | None = None
    served_at_s: float = 0.0


@dataclass(slots=True)
class Resident:
    """One engine, from StartEngine until its memory is free again."""

    engine: EngineId
    model: str
    placement: Placement
    bytes_: dict[DeviceId, int]
    started_s: float
    phase: Phase = "starting"
    ready_s: float = 0.0
    last_used_s: float = 0.0
    keep_alive_s: float | None = None
    gated: bool = False
    leaving: bool = False
    serving: set[RequestId] = field(default_factory=set[RequestId])
    owed: int = 0
    """Requests of the group that called it; it cannot be a victim before they are served."""
    expires_at_s: float | None = None


@dataclass(slots=True)
class ModelState:
    """A model that can be asked for, what went wrong with it lately, and its engine if it has one."""

    profile: ModelProfile
    pinned: bool
    engine: EngineId | None = None
    failures: int = 0
    not_before_s: float = 0.0
    smallest_failed_bytes: int | None = None
    """A placement of this size ran out of memory; only smaller ones are tried."""


@dataclass(slots=True)
class State:
    devices: dict[DeviceId, Device] = field(default_factory=dict[DeviceId, Device])
    strangers: dict[DeviceId, int] = field(default_factory=dict[DeviceId, int])
    held: dict[DeviceId, int] = field(default_factory=dict[DeviceId, int])
    models: dict[str, ModelState] = field(default_factory=dict[str, ModelState])
    residents: dict[EngineId, Resident] = field(default_factory=dict[EngineId, Resident])
    queue: dict[RequestId, Waiting] = field(default_factory=dict[RequestId, Waiting])
    serving: dict[RequestId, Waiting] = field(default_factory=dict[RequestId, Waiting])
    arrivals: int = 0
    starts: int = 0

    def free_bytes(self, device: DeviceId) -> int:
        """Negative when strangers took what had been promised already."""
        if device not in self.devices:
            return 0
        budget = self.devices[device].budget_bytes
        return budget - self.strangers.get(device, 0) - self.held.get(device, 0)

    def fits(self, placement: Placement) -> bool:
        return all(size.total_bytes <= self.free_bytes(device) for device, size in placement.shares)

    def hold(self, resident: Resident) -> None:
        self.residents[resident.engine] = resident
        for device, size in resident.bytes_.items():
            self.held[device] = self.held.get(device, 0) + size

    def release(self, engine: EngineId) -> Resident | None:
        resident = self.residents.pop(engine, None)
        if resident is None:
            return None
        for device, size in resident.bytes_.items():
            self.held[device] -= size
        model = self.models.get(resident.model)
        if model is not None and model.engine == engine:
            model.engine = None
        return resident

    def measure(self, resident: Resident, measured: tuple[tuple[DeviceId, int], ...]) -> None:
        for device, size in measured:
            self.held[device] = self.held.get(device, 0) - resident.bytes_.get(device, 0) + size
            resident.bytes_[device] = size
