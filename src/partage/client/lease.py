"""A lease held over HTTP: asks for it, waits, keeps it alive with a heartbeat, and says what becomes of it.

Where the hub goes away the work goes on, and the lease is claimed again from the hub that comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec

from partage.errors import EngineCrashed, HubUnreachable, LeaseLost, PartageError, Refused
from partage.json_value import JsonObject

BEAT_EVERY_S = 4.0
CLAIM_EVERY_S = 2.0
"""From a hub that may be back: it keeps the memory for 15 s (hub/leases.py, TTL_S)."""
LET_GO_S = 1.0
"""The hub finds out by itself as well, later: nobody waits long for one that does not answer."""

OpenStream = Callable[[JsonObject], AsyncGenerator[bytes]]
Beat = Callable[[str, tuple[int, ...]], Awaitable[object]]


class News(msgspec.Struct, frozen=True, kw_only=True):
    """One line of POST /admin/leases."""

    state: str
    """waiting, granted, paused, resumed, warned, ended; "orphaned" where the hub itself went away, then "returned", or
    "forgotten" where the one that came back knows nothing of the lease."""
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
        """The hub has gone. The next one may give the same id to another, unless it knows this lease."""

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
            case "resumed" | "orphaned" | "returned":
                self.orphaned = news.state == "orphaned"
                self.paused.clear()
                self._running.set()
            case "ended":
                raise LeaseLost(f"the hub ended the lease: {news.reason}")
            case _:
                pass


@asynccontextmanager
async def holding(
    order: JsonObject,
    open_stream: OpenStream,
    beat: Beat,
    on_news: Callable[[News], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Lease]:
    """Wait for the grant, then hold it while inside. Raises what the hub refuses with, and LeaseLost when it is ended."""
    async with aclosing(open_stream(order)) as lines:
        lease = await _wait_granted(lines, beat, on_news)
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = _listen(lease, lines, open_stream, on_news, sleep)
                companions = (tasks.create_task(listening), tasks.create_task(_keep_alive(lease)))
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


async def _listen(
    lease: Lease,
    lines: AsyncGenerator[bytes],
    open_stream: OpenStream,
    on_news: Callable[[News], None],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """The end of the stream without a word is the end of the hub, not of the work: whoever works may go on."""

    def take(news: News) -> None:
        on_news(news)
        lease.take(news)

    with contextlib.suppress(EngineCrashed):
        async for line in lines:
            take(msgspec.json.decode(line, type=News))
    while True:
        if not lease.orphaned:
            take(News(state="orphaned", lease=lease.id, reason="the hub went away"))
        await sleep(CLAIM_EVERY_S)
        try:
            async with aclosing(open_stream({"lease": lease.id})) as more:
                async for line in more:
                    news = msgspec.json.decode(line, type=News)
                    take(msgspec.structs.replace(news, state="returned") if news.state == "granted" else news)
        except (EngineCrashed, HubUnreachable, Refused):
            continue
        except PartageError as error:
            on_news(News(state="forgotten", lease=lease.id, reason=error.message))
            return


async def _keep_alive(lease: Lease) -> None:
    while True:
        with contextlib.suppress(PartageError):  # the hub is slow, or gone, or has ended it: the stream tells which
            await lease.beat()
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
