"""Watches Docker through its socket, read only: which containers there are, and what happens to them.

Without a socket the feature is off, with one line in the log. When Docker goes away the last picture stands and it is
asked again, later and later; nothing here can harm a client of the hub.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer

from partage.clock import Clock
from partage.watch.container import Container, container_from, measured, succeeded

log = logging.getLogger(__name__)

RETRY_S = (1.0, 5.0, 30.0)
STATS_EVERY_S = 15.0
MOST_CONTAINERS = 200
_DONE_ALREADY = {304, 404, 409, 500}
"""It is gone, or in that state already (which some versions call an error of their own)."""
TELLING = {"start", "die", "oom", "destroy", "rename", "connect", "disconnect", "update"}
"""Events after which a container is looked at again; health_status comes with its own text."""


class DockerWatch:
    def __init__(
        self,
        socket: str | None,
        clock: Clock,
        on_change: Callable[[], None] = lambda: None,
        *,
        retry_s: tuple[float, ...] = RETRY_S,
    ) -> None:
        self._socket = socket
        self._clock = clock
        self._on_change = on_change
        self._retry_s = retry_s
        self.containers: dict[str, Container] = {}
        self.connected = False
        self._docker: aiodocker.Docker | None = None
        self._there = asyncio.Event()
        """It is not None."""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Watch while inside."""
        if self._socket is None:
            yield
            return
        if not self.available():
            log.info("no Docker socket at %s: containers are known by their address only", self._socket)
            yield
            return
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch(f"unix://{self._socket}"), name="watch Docker")
            try:
                yield
            finally:
                watching.cancel()

    def available(self) -> bool:
        return self._socket is not None and Path(self._socket).is_socket()

    async def _watch(self, url: str) -> None:
        failures = 0
        while True:
            try:
                async with (
                    aiodocker.Docker(url=url) as docker,
                    self._open_for_orders(docker),
                    asyncio.TaskGroup() as tasks,
                ):
                    tasks.create_task(self._follow(docker))
                    tasks.create_task(self._measure(docker))
            except* Exception as group:  # noqa: BLE001 - whatever answers on that socket may not be Docker
                failures = 1 if self.connected else failures + 1
                if failures == 1:
                    error = _first(group)
                    log.warning("Docker does not answer; asking again: %s: %s", type(error).__name__, error)
            self.connected = False
            await asyncio.sleep(self._retry_s[min(failures, len(self._retry_s)) - 1])

    @asynccontextmanager
    async def _open_for_orders(self, docker: aiodocker.Docker) -> AsyncGenerator[None]:
        self._docker = docker
        self._there.set()
        try:
            yield
        finally:
            self._there.clear()
            self._docker = None

    async def _follow(self, docker: aiodocker.Docker) -> None:
        subscriber = docker.events.subscribe(create_task=False)
        async with asyncio.TaskGroup() as tasks:
            # The events first, the list after: nothing that happens in between is missed.
            events = tasks.create_task(docker.events.run(filters='{"type":["container","network"]}'))
            await self._list(docker)
            self.connected = True
            while (event := await subscriber.get()) is not None:
                await self._heard(docker, event)
            events.cancel()
        raise ConnectionError("its stream of events ended")

    async def _list(self, docker: aiodocker.Docker) -> None:
        listed = await docker.containers.list(all=True)
        there = [str(one.id) for one in listed[:MOST_CONTAINERS]]
        for gone in self.containers.keys() - set(there):
            del self.containers[gone]
        for id_ in there:
            await self._inspect(docker, id_)
        self._on_change()

    async def _heard(self, docker: aiodocker.Docker, event: dict[str, Any]) -> None:
        action = str(event.get("Action", "")).split(":", 1)[0]
        actor: dict[str, Any] = event.get("Actor") or {}
        attributes: dict[str, Any] = actor.get("Attributes") or {}
        id_ = str(attributes.get("container") if event.get("Type") == "network" else actor.get("ID", ""))
        if action not in TELLING and action != "health_status":
            return
        if action == "oom" and id_ in self.containers:
            self.containers[id_] = replace(self.containers[id_], oom_killed_s=self._clock.now_s())
        await self._inspect(docker, id_)
        self._on_change()

    async def _inspect(self, docker: aiodocker.Docker, id_: str) -> None:
        try:
            inspected = await docker.containers.container(id_).show()
        except aiodocker.DockerError as error:
            if error.status == 404:
                self.containers.pop(id_, None)
                return
            raise
        if id_ in self.containers or len(self.containers) < MOST_CONTAINERS:
            self.containers[id_] = succeeded(self.containers.get(id_), container_from(inspected), self._clock.now_s())

    async def pause(self, id_: str) -> bool:
        """Stop its processes where they are. False: Docker does not let us."""
        return await self._order(id_, lambda container: container.pause())

    async def unpause(self, id_: str) -> bool:
        return await self._order(id_, lambda container: container.unpause())

    async def stop(self, id_: str) -> bool:
        """Politely, then by force. A paused container hears it when it goes on."""
        await self.unpause(id_)
        return await self._order(id_, lambda container: container.stop())

    async def _order(self, id_: str, order: Callable[[DockerContainer], Awaitable[object]]) -> bool:
        """While Docker is away the order waits: a container that nobody lets go on would stand still for ever."""
        while True:
            await self._there.wait()
            assert self._docker is not None
            try:
                await order(self._docker.containers.container(id_))
            except aiodocker.DockerError as error:
                return error.status in _DONE_ALREADY
            except (aiohttp.ClientError, OSError) as error:
                log.warning("Docker did not take an order; it is given again: %s", error)
                await asyncio.sleep(self._retry_s[0])
            else:
                return True

    async def _measure(self, docker: aiodocker.Docker) -> None:
        """One at a time: Docker takes one to two seconds for each, most of them asleep."""
        while True:
            await asyncio.sleep(STATS_EVERY_S)
            for id_ in [one.id for one in self.containers.values() if one.running]:
                try:
                    stats = (await docker.containers.container(id_).stats(stream=False))[0]
                except (aiodocker.DockerError, IndexError):
                    continue  # it ended meanwhile
                if id_ in self.containers:
                    self.containers[id_] = measured(self.containers[id_], stats)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
