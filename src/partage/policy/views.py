"""What the policy lets others see of itself: frozen pictures for the admin API, the dashboard and the simulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from partage.domain import Class, DeviceId, EngineId, Placement, RequestId

Phase: TypeAlias = Literal["starting", "ready", "stopping", "parking", "parked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedView:
    request: RequestId
    model: str
    client: str
    class_: Class
    position: int
    """1: next for this model."""
    waited_s: float
    predicted_wait_s: float
    """From now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentView:
    engine: EngineId
    model: str
    phase: Phase
    placement: Placement
    bytes_: tuple[tuple[DeviceId, int], ...]
    """Measured where the engine said so, estimated otherwise; empty while it is parked."""
    serving: int
    slots: int
    gated: bool
    """Takes no new requests: it drains so that another may have its memory."""
    paused: bool
    """Serves, but others compute now, or it is paused by hand."""
    pinned: bool
    last_used_s: float
    expires_at_s: float | None
    """None: stays until its memory is wanted."""
    parked_bytes: int = 0
    """Of the RAM tier."""
    halted: bool = False
    """Paused by hand, also while it serves nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseView:
    """A lease that is held, or waited for."""

    lease: RequestId
    client: str
    class_: Class
    exclusive: bool
    engine: EngineId | None
    """None: it waits."""
    device: DeviceId | None
    """Where it is held, or must be."""
    bytes_: int
    """Counted for it: at least what it asked for, more where its holder was seen to use more."""
    since_s: float
    """When it was granted, or asked for."""
    position: int | None
    """1: the next that waits for memory."""
    predicted_wait_s: float | None
    leased_bytes: int = 0
    """Granted, or asked for."""
    paused: bool = False
    halted: bool = False
    """Paused by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    device: DeviceId
    capacity_bytes: int
    """Budget: total less reserve."""
    strangers_bytes: int
    residents_bytes: int
    """Held by engines that are ready or stopping."""
    leases_bytes: int
    loading_bytes: int
    promised_bytes: int
    """Of what is free or about to be: set aside for planned loads that wait for others to leave."""
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TierView:
    """The RAM that parked engines may take."""

    budget_bytes: int
    held_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientView:
    name: str
    class_: Class
    weight: float
    queued: int
    serving: int
    virtual_s: float
    """GPU-seconds received, divided by weight; the least goes first."""
    served_s: float
    """GPU-seconds received in all."""
