"""What the hub says of itself, as far as the dashboard reads it: what an older hub leaves out is no error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from partage.errors import EngineError
from partage.json_value import JsonObject

T = TypeVar("T")


class Quantiles(msgspec.Struct, frozen=True):
    p50: float | None = None
    p95: float | None = None
    max: float | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str = "host"
    name: str = ""
    total_bytes: int = 0
    budget_bytes: int = 0
    strangers_bytes: int = 0
    free_bytes: int = 0
    promised_bytes: int = 0
    """Set aside for loads that wait for others to leave."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What a resident holds on one device; the parts are those of the estimate."""

    device: str
    held_bytes: int = 0
    weights_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0
    overhead_bytes: int = 0


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    engine: str
    model: str
    state: str = "ready"
    how: str = ""
    devices: list[str] = []
    ledger_bytes: int = 0
    estimated_bytes: int = 0
    measured_bytes: int | None = None
    slots: int = 0
    serving: int = 0
    context_tokens: int = 0
    pinned: bool = False
    expires_in_s: float | None = None
    paused_by_hand: bool = False
    parked_bytes: int = 0
    memory: list[Share] = []


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Memory given out to a program that is not a model."""

    name: str
    id: str = ""
    client: str = ""
    class_: str = msgspec.field(default="normal", name="class")
    state: str = "held"
    device: str = ""
    """Where it must be, while it waits; empty: anywhere."""
    bytes: int = 0
    measured_bytes: int | None = None
    exclusive: bool = False
    paused_by_hand: bool = False
    position: int | None = None
    predicted_wait_s: float | None = None
    since_s: float = 0.0
    """For so long it has waited, or has been held."""


class Client(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    class_: str = msgspec.field(default="normal", name="class")
    weight: float = 1.0
    requests: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0
    streamed_tokens: int = 0
    queued: int = 0
    serving: int = 0
    served_s: float = 0.0
    queued_s: Quantiles = Quantiles()
    ttft_s: Quantiles = Quantiles()
    tokens_per_s: Quantiles = Quantiles()


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    request: str
    model: str
    client: str
    class_: str = msgspec.field(default="normal", name="class")
    position: int = 0
    waited_s: float = 0.0
    predicted_wait_s: float = 0.0


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """The RAM for models that had to leave a GPU."""

    budget_bytes: int = 0
    held_bytes: int = 0


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    reason: str = "turn"
    from_s: float
    to_s: float | None = None


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """One engine's time in memory, in seconds on the hub's clock."""

    engine: str
    model: str
    devices: dict[str, int] = {}
    came: str = ""
    started_s: float
    ready_s: float | None = None
    ended_s: float | None = None
    left: str = ""
    failed: bool = False
    lease: bool = False
    pauses: list[Pause] = []


class Status(msgspec.Struct, frozen=True, kw_only=True):
    now_s: float = 0.0
    devices: list[Device] = []
    residents: list[Resident] = []
    leases: list[Lease] = []
    parked: Parked = Parked()
    paused_by_hand: list[str] = []
    """Models, in memory or not."""
    clients: list[Client] = []
    queue: list[Queued] = []
    stays: list[Stay] = []


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    rule: str
    subject: str = ""
    severity: str = "warning"
    message: str = ""
    cure: str = ""
    raised_at: float = 0.0
    """Seconds since 1970."""
    cleared_at: float | None = None


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    standing: list[Alert] = []
    history: list[Alert] = []


class Container(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    image: str = ""
    running: bool = True
    health: str | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    cpu_cores: float | None = None
    restarts: int = 0
    oom_killed: bool = False
    labels: Mapping[str, str] = {}


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    uuid: str
    utilisation_percent: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    docker: bool = False
    containers: list[Container] = []
    gpus: list[Gpu] = []


def read_status(raw: JsonObject) -> Status:
    """Raises EngineError where a value is of another kind than it was."""
    return _read(raw, Status, "status")


def read_alerts(raw: JsonObject) -> Alerts:
    """Raises EngineError."""
    return _read(raw, Alerts, "list of alerts")


def read_machine(raw: JsonObject) -> Machine:
    """Raises EngineError."""
    return _read(raw, Machine, "reading of the machine")


def _read(raw: JsonObject, kind: type[T], what: str) -> T:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise EngineError(f"the hub's {what} is not understood: {error}") from error
