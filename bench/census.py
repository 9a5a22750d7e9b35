"""What a hub holds at this moment, counted from inside it: for benches that look for what leaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Literal, TypeAlias, cast

import msgspec
import psutil
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from partage.domain import EngineId
from partage.hub.hub import Hub
from partage.hub.residents import Resident
from partage.policy.actions import Refuse
from partage.policy.events import EngineFailed

Phase: TypeAlias = Literal["loading", "idle", "prefill", "decoding", "paused", "parked", "stopping"]


class EngineNow(msgspec.Struct, frozen=True, kw_only=True):
    engine: EngineId
    model: str
    pid: int
    phase: Phase


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that has to be as it was once nobody is served any more."""

    children: int
    sockets: int
    files: int
    """Descriptors of the hub's process, sockets included."""
    tasks: int
    tickets: int
    queued: int
    """As the policy counts."""
    slots: int
    engines: int
    ledger_bytes: int
    loading: int


class Census(msgspec.Struct, frozen=True, kw_only=True):
    engines: tuple[EngineNow, ...]
    held: Held
    events: dict[str, int]
    """By kind, since the start; refusals by theirs."""


class Seen:
    """Counts events and actions by kind, refusals by theirs too, loads that found no memory. Satisfies hub.Observer."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def decided(self, at_s: float, event: object, actions: object) -> None:
        self.counts[type(event).__name__] += 1
        self.counts["out of memory"] += isinstance(event, EngineFailed) and event.out_of_memory
        for action in cast("list[object]", actions):
            self.counts[type(action).__name__] += 1
            if isinstance(action, Refuse):
                self.counts[f"refused: {action.kind}"] += 1

    def refused(self, client: object, model: str, error: object) -> None:
        """What never reached the policy leaves nothing behind."""


def routes(hub: Hub, seen: Seen) -> list[Route]:
    async def census(_: Request) -> Response:
        return Response(msgspec.json.encode(take(hub, seen)))

    async def counts(_: Request) -> Response:
        return Response(msgspec.json.encode(seen.counts))

    return [Route("/bench/census", census), Route("/bench/seen", counts)]


def take(hub: Hub, seen: Seen) -> Census:
    running = hub.residents.running
    return Census(
        engines=tuple(_engine(hub, name, one) for name, one in running.items() if pid_of(one)),
        held=_held(hub),
        events=dict(seen.counts),
    )


def pid_of(resident: Resident) -> int:
    """Also of an engine that still loads; 0 before there is a process."""
    if resident.loaded is not None:
        return resident.loaded.pid or 0
    child = getattr(resident.engine, "_child", None)
    return 0 if child is None else int(child.pid)


def _engine(hub: Hub, name: EngineId, resident: Resident) -> EngineNow:
    return EngineNow(engine=name, model=resident.model.name, pid=pid_of(resident), phase=_phase(hub, name, resident))


def _phase(hub: Hub, name: EngineId, resident: Resident) -> Phase:
    if resident.loaded is None:
        return "loading"
    known = hub.scheduler.state.residents.get(name)
    if known is None or known.leaves:
        return "parked" if resident.parked else "stopping"
    if known.paused:
        return "paused"
    tickets = [ticket for request in known.serving if (ticket := hub._tickets.get(request)) is not None]  # noqa: SLF001
    if not tickets:
        return "idle"
    return "prefill" if any(ticket.timing.first_output_s is None for ticket in tickets) else "decoding"


def _held(hub: Hub) -> Held:
    state = hub.scheduler.state
    process = psutil.Process()
    ledgers = hub.scheduler.ledger_view()
    return Held(
        children=len(process.children()),
        sockets=len(process.net_connections("all")),
        files=process.num_fds(),
        tasks=len(asyncio.all_tasks()),
        tickets=len(hub._tickets),  # noqa: SLF001
        queued=state.queued + sum(account.queued for account in state.accounts.by_name.values()),
        slots=sum(account.serving for account in state.accounts.by_name.values())
        + sum(len(one.serving) for one in state.residents.values()),
        engines=len(hub.residents.running),
        ledger_bytes=sum(view.residents_bytes + view.loading_bytes for view in ledgers),
        loading=sum(state.loading.values()),
    )
