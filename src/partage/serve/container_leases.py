"""Containers that hold a lease, from their start to their end, because a label says so: `partage.lease=6GiB`.

Where Docker may be told, a container that must wait is paused from its start until its lease is granted, and later whenever the
policy pauses its holder. Where it may not (a socket that only lets read), the lease is accounted for and nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Protocol

from partage.device.processes import Processes
from partage.domain import Client
from partage.errors import PartageError
from partage.hub.lease import Lease, Wish
from partage.watch.container import Container

log = logging.getLogger(__name__)

FOR_EVER_S = 10 * 365 * 86400.0
LET_GO_S = 5.0
"""So long at most a container is told to go on while the hub ends."""

Hold = Callable[[Client, Wish], AbstractContextManager[Lease]]


class DockerOrders(Protocol):
    """watch/docker.py. False: Docker does not take orders from us."""

    async def pause(self, id_: str) -> bool: ...

    async def unpause(self, id_: str) -> bool: ...

    async def stop(self, id_: str) -> bool: ...


class ContainerLeases:
    def __init__(
        self, docker: DockerOrders, client_of: Callable[[Container], Client], proc: Processes | None = None
    ) -> None:
        self._docker = docker
        self._client_of = client_of
        self._proc = proc or Processes()
        self._hold: Hold | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._held: dict[tuple[str, int], asyncio.Task[None]] = {}
        """By container and first process: one that was started again begins anew."""
        self._only_accounted = False

    @asynccontextmanager
    async def running(self, hold: Hold) -> AsyncGenerator[None]:
        """Hold leases while inside."""
        async with asyncio.TaskGroup() as tasks:
            self._hold, self._tasks = hold, tasks
            try:
                yield
            finally:
                self._tasks = None
                for task in self._held.values():
                    task.cancel()

    def look(self, containers: Iterable[Container]) -> None:
        """Call when containers came, went, or changed."""
        if self._tasks is None or self._hold is None:
            return
        wanted = {(one.id, one.pid): one for one in containers if one.running and one.lease_bytes}
        for key in self._held.keys() - wanted.keys():
            self._held.pop(key).cancel()
        for key, container in wanted.items():
            if key not in self._held:
                task = self._tasks.create_task(self._live(container, self._hold), name=f"lease of {container.name}")
                self._held[key] = task

    async def _live(self, container: Container, hold: Hold) -> None:
        wish = Wish(
            bytes_=container.lease_bytes or 0,
            device=container.device,
            name=container.name,
            pids=self._pids(container),
            max_wait_s=FOR_EVER_S,
            beats=False,
        )
        try:
            with hold(self._client_of(container), wish) as lease:
                await self._follow(container, lease)
        except PartageError as error:
            log.warning("container %s has no lease: %s", container.name, error.message)

    async def _follow(self, container: Container, lease: Lease) -> None:
        paused = False
        try:
            async for news in lease.news():
                match news["state"]:
                    case "waiting" | "paused" if not paused:
                        paused = await self._order(self._docker.pause, container)
                    case "granted" | "resumed":
                        # Also one that we do not remember to have paused: a hub before us may have.
                        paused = not await self._order(self._docker.unpause, container) and paused
                    case "ended":
                        await self._order(self._docker.stop, container)
                    case _:
                        pass
        finally:
            if paused:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LET_GO_S):
                        await self._order(self._docker.unpause, container)

    async def _order(self, order: Callable[[str], Awaitable[bool]], container: Container) -> bool:
        if self._only_accounted:
            return False
        if await order(container.id):
            return True
        self._only_accounted = True
        log.warning("Docker takes no orders from us: containers with a lease are accounted for, and never paused")
        return False

    def _pids(self, container: Container) -> tuple[int, ...]:
        """Its first process, where we see the same processes as Docker."""
        facts = self._proc.facts(container.pid) if container.pid else None
        return (container.pid,) if facts is not None and facts.container == container.id else ()
