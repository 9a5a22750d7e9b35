"""What may be asked for: everything the policy can make happen. Only hub/ and sim/ carry these out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from partage.domain import DeviceId, EngineId, Placement, RequestId

PauseReason: TypeAlias = Literal["urgent", "turn", "share", "hand"]
"""More urgent work computes; another of its class has its turn; a lower class has its guaranteed share; somebody asked for it."""
RefusalKind: TypeAlias = Literal["queue_full", "quota", "deadline", "cannot_fit", "start_failed", "unknown_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Give the request a slot of the engine. Safe to ignore for a request that has already left."""

    request: RequestId
    engine: EngineId


@dataclass(frozen=True, slots=True, kw_only=True)
class StartEngine:
    engine: EngineId
    model: str
    placement: Placement
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopEngine:
    """Only ever of an engine that serves nobody, or is parked in mid-answer: then those it serves are told `reason`."""

    engine: EngineId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkEngine:
    """Move its device memory to RAM. Those that it serves, where that is possible, see silence and no error."""

    engine: EngineId
    bytes_: int
    mid_answer: bool = False
    """It serves somebody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnparkEngine:
    """Move it back to where it was: its device has room."""

    engine: EngineId


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantLease:
    """The memory is the lease's until LeaseEnded. `engine` is what orders to pause and resume its holder call it."""

    lease: RequestId
    engine: EngineId
    device: DeviceId
    bytes_: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseEngine:
    """It serves, and keeps what it has, but computes nothing until it is resumed. Holds at once."""

    engine: EngineId
    reason: PauseReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeEngine:
    engine: EngineId


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    request: RequestId
    kind: RefusalKind
    message: str
    retry_after_s: float | None = None
    needs_bytes: int = 0
    capacity_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send TimePassed at this time of the hub's clock; replaces any earlier WakeAt."""

    at_s: float


Action: TypeAlias = (
    Serve
    | StartEngine
    | StopEngine
    | ParkEngine
    | UnparkEngine
    | GrantLease
    | PauseEngine
    | ResumeEngine
    | Refuse
    | WakeAt
)
