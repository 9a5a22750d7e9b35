"""How things stand at one moment, as the alert rules see it: plain values, easily made in a test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from partage.domain import DeviceId

Troubles: TypeAlias = Literal["crashed", "failed", "out_of_memory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNow:
    id: DeviceId
    name: str
    kind: Literal["host", "cuda"]
    total_bytes: int
    used_bytes: int | None = None
    ledger_bytes: int = 0
    """What the ledger holds for our engines."""
    engines_bytes: int | None = None
    """What their processes hold; None where that cannot be known."""
    lost: bool = False
    """It was there when the hub started, and is not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNow:
    model: str
    on_gpu: Literal["whole", "partly", "not"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTrouble:
    at_s: float
    model: str
    kind: Troubles
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerNow:
    name: str
    running: bool = True
    oom_killed_s: float | None = None
    """When it was last killed for memory, on the hub's clock."""
    restarts: tuple[float, ...] = ()
    """When it was started again, as far as we watched."""
    unhealthy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseNow:
    id: str
    leased_bytes: int
    counted_bytes: int
    """In the ledger: more than leased where its holder was seen to have more."""
    waited_s: float | None = None
    """None: it is held."""
    position: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    now_s: float
    devices: tuple[DeviceNow, ...] = ()
    gpu_error: str | None = None
    """What NVML complains of."""
    gpus_unused: tuple[str, ...] = ()
    """GPUs the driver shows and the hub does not place models on, for want of an engine that could."""
    xids: tuple[tuple[float, DeviceId, int], ...] = ()
    """(when, device, XID) of the driver's error events of the last minutes."""
    models: tuple[ModelNow, ...] = ()
    troubles: tuple[EngineTrouble, ...] = ()
    """Of the last 10 minutes."""
    did_not_fit: Mapping[str, str] = field(default_factory=dict[str, str])
    """Model -> the arithmetic, of requests refused in the last minutes."""
    overdue: Mapping[str, int] = field(default_factory=dict[str, int])
    """Client -> requests that wait although their deadline has passed."""
    deadlines: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Client -> (missed, all) of the last 10 minutes."""
    loading_share: float = 0.0
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None
    containers: tuple[ContainerNow, ...] = ()
    leases: tuple[LeaseNow, ...] = ()
    lost_leases: tuple[tuple[float, str], ...] = ()
    """(when, which) ended because nothing was heard of its holder."""
    paused_s: Mapping[str, float] = field(default_factory=dict[str, float])
    """Engine -> for how long it has been paused by now, in turn, not by hand."""
    pause_bound_s: float = math.inf
