"""Copies one engine's stream to one caller; stamps the first output and the usage; retries what no client has seen a piece of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Literal

from partage.errors import EngineCrashed
from partage.hub.ticket import Grant, Ticket
from partage.policy.events import Outcome
from partage.work import Done, Output, PromptProgress, Usage, Vectors

MAX_ATTEMPTS = 3
"""Engines that may die under one request before it is told."""
MAX_BEGUN = 2
"""Of them, how many may die in the middle of its answer: it may be what kills them."""
RELEASE_TIMEOUT_S = 10.0
"""An adopted server may drop a connection and live on: then there is nothing to wait for."""

Ended = Callable[[Ticket, Outcome | Literal["refused"]], None]


class Answer(AsyncGenerator[Output, None]):
    """The stream of one ticket.

    A class and not a bare generator because a generator that was never started runs none of its code when closed:
    a client that leaves between admission and the first read would keep its place for ever.
    """

    def __init__(self, ticket: Ticket, ended: Ended, *, whole: bool) -> None:
        self._ticket = ticket
        self._ended = ended
        self._outputs = _relay(ticket, whole=whole)
        self._open = True

    async def asend(self, value: None) -> Output:
        try:
            return await self._outputs.asend(value)
        except StopAsyncIteration:
            self._end("done")
            raise
        except Exception:
            self._end("failed")
            raise
        except BaseException:
            self._end("cancelled")
            raise

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> Output:
        self._end("cancelled")
        return await self._outputs.athrow(typ, val, tb)  # pyright: ignore[reportCallIssue, reportArgumentType]

    async def aclose(self) -> None:
        try:
            await self._outputs.aclose()
        finally:
            self._end("cancelled")

    def _end(self, outcome: Outcome) -> None:
        if not self._open:
            return
        self._open = False
        self._ticket.finish(outcome)
        if self._ticket.refusal is not None:
            self._ended(self._ticket, "refused")
        elif self._ticket.usage is not None:
            self._ended(self._ticket, "done")  # whoever has the last piece and leaves has been served
        else:
            self._ended(self._ticket, outcome)


async def _relay(ticket: Ticket, *, whole: bool) -> AsyncGenerator[Output, Any]:
    """With `whole`, pieces are kept until the last is there: until then nothing has reached the client."""
    crashes = begun_crashes = 0
    while True:
        grant = await ticket.wait_grant()
        work = ticket.request.work
        if work is None:
            ticket.finish("done", Usage())
            yield Done(finish_reason="load", usage=Usage())
            return
        begun = False
        kept: list[Output] = []
        try:
            async with aclosing(grant.engine.stream(work)) as outputs:
                async for output in outputs:
                    if isinstance(output, Done | Vectors):
                        ticket.count_output()
                        ticket.finish("done", output.usage)  # before the yield: a slow reader holds no slot
                        for piece in kept:
                            yield piece
                    elif not isinstance(output, PromptProgress):
                        begun = True
                        ticket.count_output()
                        if whole:
                            kept.append(output)
                            continue
                    yield output
                return
        except EngineCrashed as error:
            if ticket.usage is not None:
                return  # it has its answer
            crashes += 1
            begun_crashes += begun and not grant.end.reason
            told = begun and not whole
            if told or crashes == MAX_ATTEMPTS or begun_crashes == MAX_BEGUN or not await _known(grant):
                if grant.end.reason:
                    raise EngineCrashed(f"the hub ended the model server: {grant.end.reason}") from error
                raise
            ticket.requeue()


async def _known(grant: Grant) -> bool:
    """Wait until the policy knows of the engine's end, or it would be served there again. False: it lives on."""
    try:
        async with asyncio.timeout(RELEASE_TIMEOUT_S):
            await grant.end.known.wait()
    except TimeoutError:
        return False
    return True
