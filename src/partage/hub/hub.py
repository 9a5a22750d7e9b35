"""The hub: admits requests, tells the policy what happens, and carries out what it decides.

The loop is `post`: the only caller of decide(). It runs on the event loop's thread without awaiting, so an event and
the actions it leads to are one step that nothing can interleave with.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import assert_never

from partage.clock import Clock
from partage.domain import Device, Model, Request, RequestId
from partage.errors import PartageError, ShuttingDown
from partage.hub.clients import Clients
from partage.hub.demand import demand_of
from partage.hub.kept_leases import KeptLeases
from partage.hub.leases import Leases, OverLimit
from partage.hub.ports import Journal, Library, Observer, Profiles
from partage.hub.refusals import must_be_able, refusal_of
from partage.hub.relay import Answer
from partage.hub.residents import Checkpoint, MakeEngine, Residents
from partage.hub.stats import Stats
from partage.hub.stays import Stays
from partage.hub.ticket import Ticket
from partage.hub.views import QueuePosition
from partage.hub.weights import Weights
from partage.policy.actions import (
    Action,
    GrantLease,
    ParkEngine,
    PauseEngine,
    PauseReason,
    Refuse,
    ResumeEngine,
    Serve,
    StartEngine,
    StopEngine,
    UnparkEngine,
    WakeAt,
)
from partage.policy.events import (
    DeviceSeen,
    EngineFailed,
    Event,
    RequestArrived,
    RequestFinished,
    RequestRequeued,
    TimePassed,
)
from partage.policy.scheduler import Scheduler

log = logging.getLogger(__name__)


class Hub:
    def __init__(  # noqa: PLR0913 - the composition root (serve.py) hands over every part by name
        self,
        *,
        scheduler: Scheduler,
        library: Library,
        profiles: Profiles,
        clients: Clients,
        devices: Sequence[Device],
        make_engine: MakeEngine,
        clock: Clock,
        journal: Journal | None = None,
        observers: Sequence[Observer] = (),
        over_limit: OverLimit = "warn",
        kept_leases: KeptLeases | None = None,
        checkpoint: Checkpoint | None = None,
        weights: Weights | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.library = library
        self.profiles = profiles
        self.clients = clients
        self.devices = tuple(devices)
        self.stats = Stats()
        self.stays = Stays()
        self.clock = clock
        self._make_engine = make_engine
        self._checkpoint = checkpoint
        self._journal = journal
        if journal is not None:
            journal.begin(clock.now_s(), scheduler.settings)
        self.weights = weights
        self._observers: list[Observer] = [self.stats, self.stays, *observers, *([weights] if weights else [])]
        self._tickets: dict[RequestId, Ticket] = {}
        self._events: deque[Event] = deque()
        self._deciding = False
        self._closing = False
        self._wake: asyncio.TimerHandle | None = None
        self._residents: Residents | None = None
        self.leases = Leases(
            post=self.post,
            views=scheduler.leases_view,
            clock=clock,
            devices=devices,
            over_limit=over_limit,
            kept=kept_leases,
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Hub]:
        """Serve while inside; on the way out refuse those waiting and stop every engine."""
        async with asyncio.TaskGroup() as tasks:
            self._residents = Residents(self._make_engine, self.post, self.clock, tasks, checkpoint=self._checkpoint)
            for device in self.devices:
                self.post(DeviceSeen(device))
            self.leases.hold_again()
            try:
                async with self.weights.watching(self.post) if self.weights else nullcontext():
                    yield self
            finally:
                self.close()

    def refuse_new(self) -> None:
        """The end has begun: who waits is refused, who is served may finish."""
        self._closing = True
        self._refuse_waiting()
        self.leases.close()

    def _refuse_waiting(self) -> None:
        for ticket in list(self._tickets.values()):
            if ticket.waiting:
                ticket.refuse(ShuttingDown())

    def check_open(self) -> None:
        """Raises ShuttingDown once the end has begun."""
        if self._closing:
            raise ShuttingDown

    def close(self) -> None:
        """Whom it still serves is told."""
        self.refuse_new()
        if self._wake is not None:
            self._wake.cancel()
        self.residents.stop_all()

    @property
    def residents(self) -> Residents:
        assert self._residents is not None, "the hub is not running"
        return self._residents

    def admit(self, request: Request) -> Ticket:
        """Take the request in, or refuse it before any byte of an answer.

        Raises ModelNotFound, Unsupported, QuotaExceeded, QueueFull, DeadlinePassed, CannotFit, ShuttingDown.
        """
        self.check_open()
        self.stats.of(request.client).requests += 1
        try:
            return self._admit(request)
        except PartageError as error:
            self.stats.of(request.client).refused += 1
            self._tell_refused(request, error)
            raise

    def _admit(self, request: Request) -> Ticket:
        model = self.library.get(request.model)
        must_be_able(model, request)
        demand = demand_of(
            request, model=model, now_s=self.clock.now_s(), keep_alive_s=self.profiles.keep_alive_s(model.name)
        )
        self.clients.admit(request.client, demand.prompt_tokens + demand.output_tokens)
        self.make_known(model, request.context_tokens)
        ticket = Ticket(request, self.clock, self.post, self._position, self._answer)
        self._tickets[request.id] = ticket
        self.post(RequestArrived(demand))
        if ticket.refusal is not None:
            raise ticket.refusal
        return ticket

    def make_known(self, model: Model, context_tokens: int | None = None) -> None:
        """The policy knows no model that was never asked for."""
        news = self.profiles.learn(model, context_tokens)
        if news is not None:
            self.post(news)

    def _answer(self, ticket: Ticket, *, whole: bool) -> Answer:
        return Answer(ticket, self._ended, whole=whole)

    def _ended(self, ticket: Ticket, outcome: str) -> None:
        self.stats.ended(ticket.request.client, outcome, ticket.timing, ticket.usage)
        if ticket.refusal is not None:
            self._tell_refused(ticket.request, ticket.refusal)

    def _position(self, request: RequestId) -> QueuePosition | None:
        for queued in self.scheduler.queue_view():
            if queued.request == request:
                return QueuePosition(queued.position, queued.predicted_wait_s)
        return None

    def post(self, event: Event) -> None:
        """Tell the policy and carry out what it says. Events posted meanwhile are taken in their order."""
        self._events.append(event)
        if self._deciding:
            return
        self._deciding = True
        try:
            while self._events:
                event = self._events.popleft()
                now_s = self.clock.now_s()
                actions = self.scheduler.decide(event, now_s)
                if self._journal is not None:
                    self._journal.write(now_s, event, actions)
                self._tell_decided(now_s, event, actions)
                if isinstance(event, RequestFinished):
                    self._tickets.pop(event.request, None)
                for action in actions:
                    self._carry_out(action)
                if self._closing and isinstance(event, RequestRequeued):
                    self._refuse_waiting()  # nothing is loaded for it any more
        finally:
            self._deciding = False

    def _tell_decided(self, now_s: float, event: Event, actions: Sequence[Action]) -> None:
        self._observe(lambda one: one.decided(now_s, event, actions))

    def _tell_refused(self, request: Request, error: PartageError) -> None:
        self._observe(lambda one: one.refused(request.client, request.model, error))

    def _observe(self, tell: Callable[[Observer], None]) -> None:
        for one in list(self._observers):
            try:
                tell(one)
            except Exception:
                log.exception("%s sees nothing from now on", type(one).__name__)
                self._observers.remove(one)

    def _carry_out(self, action: Action) -> None:  # noqa: C901, PLR0912 - one branch per kind of action
        match action:
            case Serve(request=request, engine=engine):
                self._serve(request, engine)
            case StartEngine():
                self._start(action)
            case StopEngine(engine=engine, reason=reason):
                log.info("stopping %s: %s", engine, reason)
                self.residents.stop(engine, reason)
            case Refuse(request=request):
                ticket = self._tickets.pop(request, None)
                if ticket is None:
                    self.leases.refused(request, refusal_of(action, "of a lease"))
                else:
                    ticket.refuse(refusal_of(action, ticket.request.model))
            case WakeAt(at_s=at_s):
                self._wake_at(at_s)
            case GrantLease():
                self.leases.granted(action)
            case PauseEngine(engine=engine, reason=reason):
                if not self.leases.pause(engine, PAUSED_FOR[reason]):
                    self.residents.pause(engine)
            case ResumeEngine(engine=engine):
                if not self.leases.resume(engine):
                    self.residents.resume(engine)
            case ParkEngine(engine=engine, mid_answer=mid_answer):
                log.info("parking %s%s", engine, " in mid-answer" if mid_answer else "")
                self.residents.park(engine, mid_answer=mid_answer)
            case UnparkEngine(engine=engine):
                log.info("bringing %s back", engine)
                self.residents.unpark(engine)
            case _:
                assert_never(action)

    def _serve(self, request: RequestId, engine: str) -> None:
        ticket = self._tickets.get(request)
        grant = self.residents.grant(engine)
        if ticket is not None and grant is not None:
            ticket.grant(grant)

    def _start(self, order: StartEngine) -> None:
        if self._closing:
            return  # a pinned model whose engine was just stopped would come back for ever
        log.info("starting %s: %s", order.engine, order.reason)
        try:
            model = self.library.get(order.model)
        except PartageError as error:  # its file went away since it was asked for
            self.post(EngineFailed(engine=order.engine, reason=error.message))
            return
        self.residents.start(order, model)

    def _wake_at(self, at_s: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        delay_s = max(0.0, at_s - self.clock.now_s())
        self._wake = asyncio.get_running_loop().call_later(delay_s, self.post, TimePassed())


PAUSED_FOR: dict[PauseReason, str] = {
    "urgent": "more urgent work computes",
    "turn": "others of its class have their turn",
    "share": "a lower class has its guaranteed share",
    "hand": "somebody asked for it",
}
