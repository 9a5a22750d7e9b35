"""The children that built-in engines run in. One waits with its imports done, so that the next load is only the model."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec

from partage.clock import Clock, SystemClock
from partage.engine.process import Child, spawn

log = logging.getLogger(__name__)

WAITING_BYTES = 25 << 20
"""Resident memory of a worker that waits: the interpreter, llama.cpp's code and tables."""
LOOK_S = 0.25
PATIENCE_S = 10.0
"""A start costs 0.1 s of one core: it waits so long for a moment in which nobody is served."""
BACKOFF_S = 30.0
"""After one that ended by itself: where the imports fail, they would fail again at once."""
KEEPS_STACKS = {"GLIBC_TUNABLES": "glibc.pthread.stack_cache_size=1073741824"}
"""Of threads that have ended, for worker/memory.py; by itself the C library keeps 40 MiB of addresses, which is four."""


StartWorker = Callable[[Mapping[str, str]], Awaitable[Child]]


async def start_worker(environment: Mapping[str, str]) -> Child:
    """One that reads its environment, does its imports and waits for its parameters. Raises OSError."""
    child = await spawn([sys.executable, "-m", "partage.worker"], KEEPS_STACKS)
    child.say(msgspec.json.encode({"parent_pid": os.getpid(), "environment": environment}))
    return child


class Workers:
    """Gives each engine its child. Without waiting(), every one is started when it is asked for."""

    def __init__(self, clock: Clock | None = None, start: StartWorker = start_worker) -> None:
        self._clock = clock or SystemClock()
        self._start = start
        self._environment: Mapping[str, str] = {}
        self._spare: Child | None = None
        self._not_before_s = 0.0
        self._at_latest_s = 0.0

    @property
    def spare_pid(self) -> int | None:
        return None if self._spare is None else self._spare.pid

    async def get(self, environment: Mapping[str, str]) -> Child:
        """The worker that waits, if it was started with this environment, else a new one. Raises OSError."""
        if self._spare is None or self._spare.returncode is not None or environment != self._environment:
            return await self._start(environment)
        child, self._spare = self._spare, None
        return child

    @asynccontextmanager
    async def waiting(self, environment: Mapping[str, str], quiet: Callable[[], bool]) -> AsyncGenerator[None]:
        """While inside, one worker waits for the next engine with this environment; it ends with us.

        `quiet` says whether nobody is served or loaded at the moment.
        """
        self._environment = dict(environment)

        async def look() -> None:
            while True:
                await self.look(quiet)
                await asyncio.sleep(LOOK_S)

        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(look(), name="spare worker")
            try:
                yield
            finally:
                looking.cancel()
        # Not before the task has ended: it may have been about to start one.
        if self._spare is not None:
            await self._spare.end(0.0)

    async def look(self, quiet: Callable[[], bool]) -> None:
        """See after the one that waits: it may have been taken, or have died."""
        now_s = self._clock.now_s()
        if self._spare is not None and self._spare.returncode is None:
            self._at_latest_s = now_s + PATIENCE_S
        elif self._spare is not None:
            log.warning("the worker that waited for the next load ended: %s", self._spare.log.reason())
            self._spare = None
            self._not_before_s = self._at_latest_s = now_s + BACKOFF_S
        elif now_s >= self._not_before_s and (now_s >= self._at_latest_s or quiet()):
            try:
                self._spare = await self._start(self._environment)
            except OSError as error:
                log.warning("no worker can wait for the next load: %s", error)
                self._not_before_s = self._at_latest_s = now_s + BACKOFF_S
