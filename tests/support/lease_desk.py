"""Leases and the real policy behind them, on fake time, with processes that live as long as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from partage.clock import FakeClock
from partage.device.attribution import Holdings
from partage.domain import Client, Device
from partage.errors import CannotFit, QueueFull
from partage.hub.kept_leases import KeptLeases
from partage.hub.lease import Lease, Wish
from partage.hub.leases import Leases, OverLimit
from partage.json_value import JsonObject
from partage.policy.actions import GrantLease, Refuse
from partage.policy.events import DeviceSeen, Event
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings

MIB = 1 << 20
ME = Client(name="me")
HOST = Device(id="host", kind="host", name="host memory", total_bytes=1000 * MIB, cores=2)
GPU = Device(id="GPU-7", kind="cuda", name="a GPU", index=0, total_bytes=1000 * MIB)


@dataclass
class Desk:
    """Leases, the real policy behind them, and processes that live as long as a test says."""

    over_limit: OverLimit = "warn"
    devices: tuple[Device, ...] = (HOST,)
    mps: bool = False
    kept: KeptLeases | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    alive: dict[int, int] = field(default_factory=dict[int, int])
    """Process: resident bytes."""
    events: list[Event] = field(default_factory=list[Event])
    leases: Leases = field(init=False)
    scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(PolicySettings())
        self.leases = Leases(
            post=self.post,
            views=self.scheduler.leases_view,
            clock=self.clock,
            devices=self.devices,
            over_limit=self.over_limit,
            kept=self.kept,
            tree=lambda pid: [pid] if pid in self.alive else [],
            host_bytes=self._host_bytes,
            mps_runs=lambda: self.mps,
        )
        for device in self.devices:
            self.post(DeviceSeen(device))

    def _host_bytes(self, pids: Sequence[int], limit: int) -> int:
        return sum(self.alive[pid] for pid in pids)

    def post(self, event: Event) -> None:
        self.events.append(event)
        for action in self.scheduler.decide(event, self.clock.now_s()):
            if isinstance(action, GrantLease):
                self.leases.granted(action)
            elif isinstance(action, Refuse):
                error = CannotFit(action.message) if action.kind == "cannot_fit" else QueueFull(action.message)
                assert self.leases.refused(action.request, error)

    def hold(self, mib: int = 600, client: Client = ME, **wish: object) -> AbstractContextManager[Lease]:
        return self.leases.held(client, Wish(bytes_=mib * MIB, **wish))  # type: ignore[arg-type]

    def look(self, seconds: float = 1.0, gpus: Sequence[Holdings] = ()) -> None:
        self.clock.advance(seconds)
        self.leases.look(gpus)

    def look_on(self, seconds: float) -> None:
        """Once a second, as the hub does."""
        for _ in range(round(seconds)):
            self.look()

    @property
    def free_mib(self) -> int:
        return self.scheduler.ledger_view()[0].free_bytes // MIB


async def told(lease: Lease, count: int) -> list[JsonObject]:
    news = lease.news()
    async with asyncio.timeout(1):
        return [await anext(news) for _ in range(count)]
