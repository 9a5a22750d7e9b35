"""A lease held over HTTP: asks for it, waits, keeps it alive with a heartbeat, and says what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec

from partage.errors import EngineCrashed, LeaseLost, NotFound, PartageError
from partage.json_value import JsonObject

BEAT_EVERY_S = 4.0
LET_GO_S = 1.0
"""The hub finds out by itself as well, later: nobody waits long for one that does not answer."""

OpenStream = Callable[[JsonObject], AsyncGenerator[bytes]]
Beat = Callable[[str, tuple[int, ...]], Awaitable[object]]


class News(msgspec.Struct, frozen=True, kw_only=True):
    """One line of POST /admin/leases."""

    state: str
    """waiting, granted, paused, resumed, warned, ended; "orphaned" where the hub itself went away."""
    lease: str = ""
    reason: str = ""
    position: int | None = None
    predicted_wait_s: float | None = None
    device: str = ""
    bytes: int = 0
    waited_s: float = 0.0
    environment: Mapping[str, str] = {}


class Lease:
    """Held from entering `HubClient.lease` to leaving it."""

    def __init__(self, granted: News, beat: Beat) -> None:
        self.id = granted.lease
        self.device = granted.device
        self.bytes_ = granted.bytes
        self.waited_s = granted.waited_s
        self.environment = dict(granted.environment)
        """For a program that is to use it: which GPU it sees, and its limits where MPS keeps them."""
        self.pids: tuple[int, ...] = (os.getpid(),)
        """The processes at the top of what uses it; the hub weighs them and all below them."""
        self.paused = asyncio.Event()
        """Set while more urgent work computes: a holder that waits it out (`wait_resumed`) is kind to others."""
        self._running = asyncio.Event()
        self._running.set()
        self._beat = beat
        self._to_tell = asyncio.Event()
        self.orphaned = False
        """The hub has gone. The next one may give the same id to another."""

    async def wait_resumed(self) -> None:
        await self._running.wait()

    def used_by(self, *pids: int) -> None:
        """Name the processes that use it, instead of this one; the hub hears of them at once."""
        self.pids = pids
        self._to_tell.set()

    async def beat(self) -> None:
        """Tell the hub that we live, and which processes use it; done every few seconds by itself."""
        self._to_tell.clear()
        if not self.orphaned:
            await self._beat(self.id, self.pids)

    async def wait_beat_due(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT_EVERY_S):
                await self._to_tell.wait()

    def take(self, news: News) -> None:
        """Raises LeaseLost."""
        match news.state:
            case "paused":
                self.paused.set()
                self._running.clear()
            case "resumed" | "orphaned":
                self.orphaned = news.state == "orphaned"
                self.paused.clear()
                self._running.set()
            case "ended":
                raise LeaseLost(f"the hub ended the lease: {news.reason}")
            case _:
                pass


@asynccontextmanager
async def holding(
    order: JsonObject, open_stream: OpenStream, beat: Beat, on_news: Callable[[News], None]
) -> AsyncGenerator[Lease]:
    """Wait for the grant, then hold it while inside. Raises what the hub refuses with, and LeaseLost when it is ended."""
    async with aclosing(open_stream(order)) as lines:
        lease = await _wait_granted(lines, beat, on_news)
        try:
            async with asyncio.TaskGroup() as tasks:
                companions = (tasks.create_task(_listen(lease, lines, on_news)), tasks.create_task(_keep_alive(lease)))
                try:
                    yield lease
                finally:
                    for task in companions:
                        task.cancel()
                await _let_go(lease)
        except BaseExceptionGroup as group:
            ended = group.subgroup(LeaseLost)
            raise (_first(group) if ended is None else _first(ended)) from None


async def _wait_granted(lines: AsyncGenerator[bytes], beat: Beat, on_news: Callable[[News], None]) -> Lease:
    async for line in lines:
        news = msgspec.json.decode(line, type=News)
        on_news(news)
        if news.state == "granted":
            return Lease(news, beat)
        if news.state == "ended":
            raise LeaseLost(f"the hub ended the lease: {news.reason}")
    raise EngineCrashed("the hub went away before it granted the lease")


async def _listen(lease: Lease, lines: AsyncGenerator[bytes], on_news: Callable[[News], None]) -> None:
    """The end of the stream without a word is the end of the hub, not of the work: whoever works may go on."""
    try:
        async for line in lines:
            news = msgspec.json.decode(line, type=News)
            on_news(news)
            lease.take(news)
    except EngineCrashed:
        pass
    orphaned = News(state="orphaned", lease=lease.id, reason="the hub went away")
    on_news(orphaned)
    lease.take(orphaned)


async def _keep_alive(lease: Lease) -> None:
    while True:
        try:
            await lease.beat()
        except NotFound:
            return  # it has ended; the stream says why
        except PartageError:
            pass  # the hub is slow or gone; the stream tells which
        await lease.wait_beat_due()


async def _let_go(lease: Lease) -> None:
    """Where this process itself has used it and lives on, the hub need not wait for its end."""
    if os.getpid() in lease.pids:
        lease.pids = ()
        with contextlib.suppress(PartageError, TimeoutError):
            async with asyncio.timeout(LET_GO_S):
                await lease.beat()


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
