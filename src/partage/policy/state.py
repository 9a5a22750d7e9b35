"""All that the policy remembers: models, engines, who waits or is served, the swap on its way, and what to do when."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

from partage.domain import Class, DeviceId, EngineId, Placement, RequestId
from partage.policy.accounts import Account, Accounts
from partage.policy.actions import Action, RefusalKind, Refuse, StopEngine
from partage.policy.events import Demand, LeaseDemand, ModelProfile
from partage.policy.experience import Pressure, Reuse
from partage.policy.group import Group
from partage.policy.ledger import Ledger
from partage.policy.queues import ModelQueue
from partage.policy.settings import PolicySettings
from partage.policy.views import Phase
from partage.policy.waiting import Waiting


@dataclass(slots=True, eq=False)
class Resident:
    """One engine, from StartEngine until its memory is free again."""

    engine: EngineId
    model: ModelState
    placement: Placement
    bytes_: dict[DeviceId, int]
    started_s: float
    phase: Phase = "starting"
    ready_s: float = 0.0
    last_used_s: float = 0.0
    keep_alive_s: float | None = None
    gated_s: float = 0.0
    gated: bool = False
    """Drains so that a planned load may have its memory."""
    leaving: bool = False
    """Stops once idle: somebody asked for it."""
    held: bool = False
    """Has a slot free that is kept from those who wait for it, for the sake of a plan (serving.py)."""
    drain_until_s: float = 0.0
    serving: dict[RequestId, Waiting] = field(default_factory=dict[RequestId, Waiting])
    threads: int = 0
    """Of the host's cores, while it computes; 0 for an engine that computes elsewhere."""
    contends_on: tuple[DeviceId, ...] = ()
    """Where it takes turns with others (turns.py), while it serves."""
    turn_class: Class | None = None
    in_turn: bool = False
    ran_s: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """While it served, by the class it computed in, with what it was lifted by when it came back; the least goes first."""
    paused: bool = False
    paused_at_s: float = math.inf
    paused_s: float = 0.0
    """In all, so far."""
    in_expiry: bool = False
    by_class: list[int] = field(default_factory=lambda: [0, 0, 0])
    fresh: int = 0
    """Slots not given out yet since it came: who has lost patience goes first in them."""
    owed: int = 0
    """Requests of the group that called it, still to be served before it can be a victim."""
    parked_at_s: float = 0.0
    """When that was ordered last, or failed; or who is silent in RAM was paused or let go by hand."""
    parked_bytes: int = 0
    """Of the RAM tier, from the order to park until it is back or gone."""

    @property
    def leaves(self) -> bool:
        """Serves nobody any more, not even who comes now."""
        return self.phase in {"stopping", "parking"}

    @property
    def busy(self) -> bool:
        return bool(self.serving)

    @property
    def stands_still(self) -> bool:
        """Paused by hand while it serves: nobody knows when it will have drained."""
        return self.model.halted and bool(self.serving)

    @property
    def context_tokens(self) -> int:
        return self.placement.settings.context_tokens

    @property
    def slots(self) -> int:
        return self.placement.settings.slots


@dataclass(slots=True, eq=False)
class ModelState:
    """A model that can be asked for, who waits for it, what went wrong lately, and its engine if it has one."""

    profile: ModelProfile
    queue: ModelQueue
    pinned: bool = False
    forgotten: bool = False
    resident: Resident | None = None
    lease: LeaseDemand | None = None
    """It stands for a lease, not for a model (leases.py)."""
    parked: Resident | None = None
    """An engine of it in the RAM tier (parking.py)."""
    halted: bool = False
    """Paused by hand: computes nothing, and is not loaded, until it is let go."""
    unloaded: bool = False
    """Somebody asked that it leaves: not loaded again before somebody asks for it."""
    interactive_at_s: float = -math.inf
    """When a person last asked for it."""
    reuse: Reuse = field(default_factory=Reuse)
    failures: int = 0
    not_before_s: float = 0.0
    least_bytes: int = 0
    """Of its smallest placement."""
    too_large_bytes: int | None = None
    """A placement of this size ran out of memory; only smaller ones are tried."""
    too_large_at_s: float = 0.0
    left_s: float = -math.inf
    """When its last engine's memory was given back: until then, who had to wait had to wait for a slot."""

    @property
    def name(self) -> str:
        return self.profile.model

    @property
    def aside(self) -> Resident | None:
        """Its engine, if that is parked in mid-answer or about to be: it comes back without being asked for."""
        resident = self.parked or self.resident
        silent = resident is not None and resident.phase in {"parking", "parked"} and bool(resident.serving)
        return resident if silent else None

    @property
    def wanted(self) -> bool:
        return self.queue.count > 0 or self.aside is not None

    def learn(self, profile: ModelProfile) -> None:
        if profile.placements != self.profile.placements:
            self.too_large_bytes = None
        self.profile = profile
        self.least_bytes = min((one.total_bytes for one in profile.placements), default=0)


@dataclass(slots=True, eq=False)
class Plan:
    """A swap on its way: the victims are gated and drain, then the model is started."""

    model: ModelState
    placement: Placement
    victims: list[Resident]


@dataclass(slots=True, eq=False)
class Turns:
    """Who competes for devices on which engines slow each other down, and what each class is owed there (turns.py)."""

    contending: dict[EngineId, Resident] = field(default_factory=dict[EngineId, Resident])
    """They serve somebody on such a device."""
    paused: dict[EngineId, Resident] = field(default_factory=dict[EngineId, Resident])
    halted: dict[EngineId, Resident] = field(default_factory=dict[EngineId, Resident])
    """They serve somebody and are paused by hand: they compete for nothing."""
    owed_s: dict[tuple[DeviceId, Class], float] = field(default_factory=dict[tuple[DeviceId, Class], float])
    changed: bool = False
    """Somebody has left."""
    owing: bool = False
    """Some of it is more than nothing."""
    in_share: set[tuple[DeviceId, Class]] = field(default_factory=set[tuple[DeviceId, Class]])
    """They get what they are owed now."""
    settled_s: float = 0.0
    next_s: float = math.inf
    """When somebody else may have to compute although nothing has happened."""


class State:
    def __init__(self, settings: PolicySettings) -> None:
        self.settings = settings
        self.now_s = 0.0
        self.out: list[Action] = []
        self.ledger = Ledger()
        self.accounts = Accounts()
        self.pressure = Pressure(settings.swap_patience_s)
        self.models: dict[str, ModelState] = {}
        self.pinned: dict[str, ModelState] = {}
        self.residents: dict[EngineId, Resident] = {}
        self.leases: dict[EngineId, Resident] = {}
        """Those of them that are leases, held now."""
        self.parked: dict[EngineId, Resident] = {}
        """Engines in the RAM tier, until they are back or gone."""
        self.to_park: list[Resident] = []
        """Wait for room in it."""
        self.link_rates: dict[DeviceId, float] = {}
        """Bytes per second, as the last copies took."""
        self.park_failures: dict[DeviceId, int] = {}
        """In a row."""
        self.requests: dict[RequestId, Waiting] = {}
        """Queued or served."""
        self.unplaced: dict[str, ModelState] = {}
        """Models that are waited for and have no engine that could serve all who wait; those that wait longest first."""
        self.displaced: dict[str, ModelState] = {}
        """Had to make room, and may come back when there is some."""
        self.plans: list[Plan] = []
        self.next_up: ModelState | None = None
        """Who waits for it has lost patience, and it cannot be given room yet."""
        self.loading: dict[DeviceId, int] = {}
        """Engines that are starting, by device: one at a time, for they share the link to the disk."""
        self.turns = Turns()
        self.give_up: list[tuple[float, int, Waiting]] = []
        self.expiry: list[tuple[float, EngineId]] = []
        self.retry: list[tuple[float, str]] = []
        self.reconsider_s: float | None = None
        """When a swap that was too early may be right."""
        self.queued = self.arrivals = self.starts = 0

    def new_model(self, profile: ModelProfile) -> ModelState:
        patience, share = self.settings.patience_s, self.settings.late_share
        groups = (
            Group(profile.model, Class.INTERACTIVE, patience[0], share[0]),
            Group(profile.model, Class.NORMAL, patience[1], share[1]),
            Group(profile.model, Class.BATCH, patience[2], share[2]),
        )
        model = self.models[profile.model] = ModelState(profile, ModelQueue(groups))
        self.pin(model, pinned=profile.pinned)
        return model

    def pin(self, model: ModelState, *, pinned: bool) -> None:
        model.pinned = pinned
        if pinned:
            self.pinned[model.name] = model
        else:
            self.pinned.pop(model.name, None)

    def enqueue(self, waiting: Waiting) -> None:
        model = self.models[waiting.demand.model]
        resident = model.resident
        usable = resident is not None and not resident.leaves
        model.queue.add(waiting, engine_context_tokens=resident.context_tokens if resident and usable else None)
        waiting.account.queued += 1
        self.queued += 1
        if (not usable or model.queue.outgrown) and not model.halted:
            self.unplaced.setdefault(model.name, model)

    def dequeue(self, waiting: Waiting) -> None:
        model = self.models[waiting.demand.model]
        model.queue.remove(waiting)
        waiting.account.queued -= 1
        self.queued -= 1
        if not model.wanted:
            self.unplaced.pop(model.name, None)

    def place(self, model: ModelState) -> None:
        """Call when a model's engine came or went: it waits for a place, or no longer."""
        if self.models.get(model.name) is not model:
            return  # it was deleted, and another may have its name by now
        resident = model.resident
        wanting = resident is None or resident.leaves or model.queue.outgrown
        if model.wanted and wanting and not model.halted:
            self.unplaced.setdefault(model.name, model)
        else:
            self.unplaced.pop(model.name, None)

    def refuse(
        self,
        demand: Demand,
        kind: RefusalKind,
        message: str,
        *,
        retry_after_s: float | None = None,
        needs_bytes: int = 0,
        capacity_bytes: int = 0,
    ) -> None:
        """Also of a request that waits: it leaves the queue."""
        waiting = self.requests.get(demand.id)
        if waiting is not None and waiting.queued:
            self.dequeue(waiting)
            del self.requests[demand.id]
        self.forget_lease(demand)
        self.out.append(
            Refuse(
                request=demand.id,
                kind=kind,
                message=message,
                retry_after_s=retry_after_s,
                needs_bytes=needs_bytes,
                capacity_bytes=capacity_bytes,
            )
        )

    def beside_people(self, resident: Resident) -> bool:
        """Interactive requests are served on a device of it, by itself or others."""
        return any(
            one.by_class[Class.INTERACTIVE] and not one.bytes_.keys().isdisjoint(resident.bytes_)
            for one in self.residents.values()
        )

    def forget_lease(self, demand: Demand) -> None:
        """A model that stands for a lease ends with its only request."""
        model = self.models.get(demand.model)
        if model is not None and model.lease is not None:
            del self.models[model.name]

    def stop(self, resident: Resident, reason: str) -> None:
        assert not resident.serving or resident.phase == "parked", "an engine that serves is never stopped"
        resident.phase = "stopping"
        if resident.model.parked is resident:
            resident.model.parked = None
        self.out.append(StopEngine(engine=resident.engine, reason=reason))
        self.place(resident.model)

    def is_pinned(self, resident: Resident) -> bool:
        """By the configuration or an administrator; or by keep_alive -1, as far as that leaves room for others."""
        if resident.model.pinned:
            return True
        if resident.keep_alive_s is None or resident.keep_alive_s >= 0:
            return False
        return all(
            size
            <= self.settings.pin_share * self.ledger.devices[device].budget_bytes
            - self._pinned_before(resident, device)
            for device, size in resident.bytes_.items()
            if device in self.ledger.devices
        )

    def _pinned_before(self, resident: Resident, device: DeviceId) -> int:
        """What others that came earlier hold there by their keep-alive: first come, first pinned."""
        return sum(
            other.bytes_.get(device, 0)
            for other in self.residents.values()
            if other.keep_alive_s is not None and other.keep_alive_s < 0 and other.started_s < resident.started_s
        )

    def account_of(self, demand: Demand) -> Account:
        account = self.accounts.of(demand.client)
        account.class_, account.weight = demand.class_, max(demand.weight, 1e-3)
        account.max_concurrent = demand.max_concurrent
        return account

    def schedule_expiry(self, resident: Resident) -> None:
        expires_s = self.expires_at_s(resident)
        if expires_s is not None and not resident.in_expiry:
            resident.in_expiry = True
            heapq.heappush(self.expiry, (expires_s, resident.engine))

    def expires_at_s(self, resident: Resident) -> float | None:
        keep_s = self.settings.keep_alive_s if resident.keep_alive_s is None else resident.keep_alive_s
        if resident.phase not in {"ready", "parked"} or resident.serving or keep_s < 0 or resident.model.pinned:
            return None
        return resident.last_used_s + keep_s
