"""One caller's place: it waits for an engine, holds a slot, and gives it back by whatever road the caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from partage.clock import Clock
from partage.domain import Request, RequestId
from partage.engine.base import Engine
from partage.errors import PartageError
from partage.hub.views import QueuePosition, Timing
from partage.policy.events import Event, Outcome, RequestFinished, RequestProgressed, RequestRequeued
from partage.work import Output, Usage

PROGRESS_EVERY_TOKENS = 32


@dataclass(slots=True)
class End:
    """Of an engine."""

    reason: str = ""
    """The hub's, where it ended the engine."""
    known: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it has ended and the policy knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A slot of an engine."""

    engine: Engine
    load_began_s: float
    load_ended_s: float
    """On the hub's clock: when the engine was started and when it was ready."""
    end: End


class MakeAnswer(Protocol):
    def __call__(self, ticket: Ticket, *, whole: bool) -> AsyncGenerator[Output, None]: ...


class Ticket:
    """Made by Hub.admit. Whoever holds it must run its stream to the end, or close it."""

    def __init__(
        self,
        request: Request,
        clock: Clock,
        post: Callable[[Event], None],
        locate: Callable[[RequestId], QueuePosition | None],
        answer: MakeAnswer,
    ) -> None:
        self.request = request
        self.usage: Usage | None = None
        self.refusal: PartageError | None = None
        self._clock = clock
        self._post = post
        self._locate = locate
        self._answer = answer
        self._arrived_s = clock.now_s()
        self._grant: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._granted_s: float | None = None
        self._load_s = 0.0
        self._first_output_s: float | None = None
        self._ended_s: float | None = None
        self._output_tokens = 0

    def grant(self, grant: Grant) -> None:
        """Give it a slot. Ignored when the caller has left: a cancelled future is done before its finally has run."""
        if self._grant.done():
            return
        now_s = self._clock.now_s()
        self._granted_s = now_s
        self._load_s += max(0.0, min(now_s, grant.load_ended_s) - max(self._arrived_s, grant.load_began_s))
        self._grant.set_result(grant)

    def refuse(self, error: PartageError) -> None:
        """It will not be served. The policy has forgotten it already."""
        self._ended_s = self._clock.now_s()
        self.refusal = error
        if not self._grant.done():
            self._grant.set_exception(error)
            self._grant.exception()  # read once, so that a caller who has left leaves no "never retrieved" warning

    @property
    def waiting(self) -> bool:
        return not self._grant.done()

    def stream(self, *, whole: bool = False) -> AsyncGenerator[Output, None]:
        """The answer, once. Closing it gives the place back in whatever phase, even before the first read.

        `whole`: no piece before the last is there, so that another engine may begin anew where one dies in the middle.
        """
        return self._answer(self, whole=whole)

    async def wait_grant(self) -> Grant:
        """The slot, when its turn has come. Raises the refusal."""
        return await self._grant

    def requeue(self) -> None:
        """The engine died before the client had a piece: wait again, at the old place. What there was is dropped."""
        self._grant = asyncio.get_running_loop().create_future()
        dropped, self._output_tokens, self._first_output_s = self._output_tokens, 0, None
        self._post(RequestRequeued(request=self.request.id, output_tokens=dropped))

    def count_output(self) -> None:
        """A piece of the answer (about one token) is there."""
        if self._first_output_s is None:
            self._first_output_s = self._clock.now_s()
        self._output_tokens += 1
        if self._output_tokens % PROGRESS_EVERY_TOKENS == 0:
            self._post(RequestProgressed(request=self.request.id, output_tokens=self._output_tokens))

    def finish(self, outcome: Outcome, usage: Usage | None = None) -> None:
        """Give the place back, once; later calls change nothing."""
        if self._ended_s is not None:
            return
        self._ended_s = self._clock.now_s()
        self.usage = usage
        self._grant.cancel()
        self._post(
            RequestFinished(
                request=self.request.id,
                outcome=outcome,
                prompt_tokens=usage.prompt_tokens if usage else None,
                cached_tokens=usage.cached_tokens if usage else 0,
                output_tokens=usage.output_tokens if usage else self._output_tokens,
                served_s=0.0 if self._granted_s is None else self._ended_s - self._granted_s,
                first_output_s=self.timing.first_output_s,
                decode_s=usage.decode_s if usage else 0.0,
            )
        )

    def position(self) -> QueuePosition | None:
        """Its place in the queue; None once it is served."""
        return None if self._grant.done() else self._locate(self.request.id)

    @property
    def timing(self) -> Timing:
        now_s = self._clock.now_s() if self._ended_s is None else self._ended_s
        return Timing(
            queued_s=(now_s if self._granted_s is None else self._granted_s) - self._arrived_s,
            load_s=self._load_s,
            first_output_s=None if self._first_output_s is None else self._first_output_s - self._arrived_s,
            total_s=now_s - self._arrived_s,
        )
