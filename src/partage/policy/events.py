"""What can happen: everything the policy is told. The hub makes these from the world, the simulator from a trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from partage.domain import Class, Device, DeviceId, EngineId, Placement, RequestId


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the policy sees of a request: who, which model, how much, until when. Never the words."""

    id: RequestId
    model: str
    client: str
    class_: Class = Class.NORMAL
    weight: float = 1.0
    max_concurrent: int | None = None
    prompt_tokens: int = 0
    """Estimated; corrected when the request ends."""
    output_tokens: int = 0
    """Expected (p90 of this client and model, or the request's own limit)."""
    context_tokens: int = 0
    """The least context an engine must have to serve it; 0: any."""
    deadline_at_s: float | None = None
    """On the hub's clock."""
    hard_deadline: bool = False
    keep_alive_s: float | None = None
    """Negative: for ever. None: the server's default."""
    load_only: bool = False
    """Wants the model loaded and nothing else: it is served by becoming ready."""
    max_wait_s: float | None = None
    """None: as long as any request of its class may wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseDemand:
    """Memory of one device for a program that is not ours, until it says that it is done."""

    id: RequestId
    client: str
    class_: Class = Class.NORMAL
    weight: float = 1.0
    bytes_: int = 0
    device: DeviceId | None = None
    """None: any GPU; the host where there is none."""
    exclusive: bool = False
    """All of the device, and nobody else on it."""
    cores: int | None = None
    """Of the host, that it computes with, in turn with engines. None: all of them; 0: it hardly computes, and is never paused."""
    max_wait_s: float | None = None
    """None: as long as any request of its class may wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """What the policy knows of a model: its placements, best first, and what it costs to load and to serve."""

    model: str
    placements: tuple[Placement, ...]
    load_s: float
    """Expected seconds from StartEngine to EngineReady, from the tier the weights are in now."""
    prefill_tokens_per_s: float = 1000.0
    decode_tokens_per_s: float = 50.0
    """Of one stream alone."""
    pinned: bool = False
    floor_slots_interactive: int = 0
    """Slots never given to batch work, so that a person need not wait for a document."""


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """A device exists, or its budget changed."""

    device: Device


@dataclass(frozen=True, slots=True)
class StrangersSeen:
    """Memory on a device held by processes that are not ours, as measured now."""

    device: DeviceId
    bytes_: int


@dataclass(frozen=True, slots=True)
class ModelLearned:
    """A model can be asked for from now on, or more is known about it."""

    profile: ModelProfile


@dataclass(frozen=True, slots=True)
class ModelForgotten:
    """The model was deleted; its engines are to stop once idle."""

    model: str


@dataclass(frozen=True, slots=True)
class LeaseAsked:
    lease: LeaseDemand


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseEnded:
    """Its holder has ended and its memory is free; or it waits no longer."""

    lease: RequestId


@dataclass(frozen=True, slots=True)
class RequestArrived:
    demand: Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestProgressed:
    """Tokens produced so far, for charging long answers as they run."""

    request: RequestId
    output_tokens: int


Outcome: TypeAlias = Literal["done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFinished:
    """A request ended, by whatever road; its slot, if it held one, is free."""

    request: RequestId
    outcome: Outcome = "done"
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    output_tokens: int = 0
    served_s: float = 0.0
    first_output_s: float | None = None
    """From arrival to the first piece of the answer."""
    decode_s: float = 0.0
    """As measured by the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRequeued:
    """The engine died before the client got a single piece: the request waits again, at its old place."""

    request: RequestId
    output_tokens: int = 0
    """Made by that engine, and dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReady:
    engine: EngineId
    load_s: float
    measured_bytes: tuple[tuple[DeviceId, int], ...] = ()
    """What the engine really holds; empty: not measured, the estimate stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMeasured:
    """What a running engine, or the holder of a lease, was seen to hold, where that is not what was thought."""

    engine: EngineId
    measured_bytes: tuple[tuple[DeviceId, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFailed:
    """A start failed; nothing is held any more."""

    engine: EngineId
    reason: str
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineGone:
    """An engine's process has ended and its memory is free, whether asked for or not."""

    engine: EngineId
    crashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParked:
    """Its device memory is free, and as much RAM is taken."""

    engine: EngineId
    park_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParkFailed:
    """It is where it was, and can do no more than be stopped."""

    engine: EngineId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUnparked:
    """It can serve again. One that cannot be brought back ends: EngineGone."""

    engine: EngineId
    unpark_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadAsked:
    """Someone asked that the model leaves (keep_alive 0, `partage unload`): stop once idle."""

    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PinChanged:
    model: str
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseAsked:
    """Somebody wants the model, or what stands for a held lease (leases.py), not to compute; or lets it go again."""

    model: str
    paused: bool


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A WakeAt came due."""


Event: TypeAlias = (
    DeviceSeen
    | StrangersSeen
    | ModelLearned
    | ModelForgotten
    | RequestArrived
    | RequestProgressed
    | RequestFinished
    | RequestRequeued
    | EngineReady
    | EngineMeasured
    | EngineFailed
    | EngineGone
    | LeaseAsked
    | LeaseEnded
    | EngineParked
    | EngineParkFailed
    | EngineUnparked
    | UnloadAsked
    | PinChanged
    | PauseAsked
    | TimePassed
)
