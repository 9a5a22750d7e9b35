"""What engines on somebody else's server have in common: they are opened and left, never started or ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from partage.clock import Clock, SystemClock
from partage.engine.base import EngineExit, Loaded
from partage.engine.remote_connection import RemoteConnection
from partage.engine.spec import RemoteSpec
from partage.errors import EngineStartFailed, PartageError
from partage.work import Output, Work

log = logging.getLogger(__name__)

LOOK_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Held:
    """What a model takes over there; 0 where that is not known."""

    size_bytes: int = 0
    device_bytes: int = 0
    """Of them, on GPUs."""

    @property
    def whole(self) -> int:
        return self.device_bytes or self.size_bytes


class Adopted(ABC):
    """An engine that counts as gone when we have left it, or when its server let it go; looked at every few seconds.

    One that dies over there fails its next request.
    """

    look_every_s = 5.0

    def __init__(self, spec: RemoteSpec, clock: Clock | None = None) -> None:
        self.spec = spec
        self.clock = clock or SystemClock()
        headers = {"Authorization": f"Bearer {spec.api_key}"} if spec.api_key else {}
        self.connection = RemoteConnection(spec.base_url, headers=headers, idle_timeout_s=spec.idle_timeout_s)
        self.held = Held()
        """At the last look."""
        self._leaving = False
        self._left = asyncio.Event()

    async def start(self) -> Loaded:
        began_s = self.clock.now_s()
        where = f"{self.spec.model} on {self.spec.base_url}"
        try:
            async with asyncio.timeout(self.spec.start_timeout_s):
                await self.connection.open()
                self.held = held = await self.load()
        except TimeoutError as error:
            await self.connection.close()
            raise EngineStartFailed(f"{where} was not ready after {self.spec.start_timeout_s:g} s") from error
        except PartageError as error:
            await self.connection.close()
            raise EngineStartFailed(f"{where}: {error}") from error
        if self._leaving:
            raise EngineStartFailed(f"{where} was left while it started")
        return Loaded(
            load_s=self.clock.now_s() - began_s,
            measured_bytes=((self.spec.device, held.whole),) if self.spec.device and held.size_bytes else (),
            elsewhere_bytes=0 if self.spec.device else held.size_bytes,
            elsewhere_device_bytes=0 if self.spec.device else held.device_bytes,
            context_tokens=self.spec.context_tokens,
            slots=self.spec.slots,
        )

    def pause(self) -> None:  # noqa: B027 - not for subclasses
        """It computes elsewhere, beside whatever it likes: there is nothing to pause, and the policy never asks."""

    def resume(self) -> None:  # noqa: B027
        """It is never paused."""

    async def stop(self, grace_s: float) -> None:
        if self._leaving:
            await self._left.wait()
            return
        self._leaving = True
        try:
            # What it keeps in its memory is its own affair when it does not answer.
            with contextlib.suppress(PartageError, TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.unload()
        finally:
            await self.connection.close()  # ends a start() and every stream() that still waits
            self._left.set()

    async def wait_gone(self) -> EngineExit:
        while not self._left.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.look_every_s):
                    await self._left.wait()
            if not self._leaving and not await self._still_there():
                log.info("%s is not in memory any more on %s", self.spec.model, self.spec.base_url)
                self._leaving = True
                await self.connection.close()
                self._left.set()
        return EngineExit(returncode=None, asked_for=True)

    async def _still_there(self) -> bool:
        """False only if the server says so: what does not answer may come back."""
        try:
            async with asyncio.timeout(LOOK_PATIENCE_S):
                held = await self.look()
        except (PartageError, TimeoutError):
            return True
        self.held = held or self.held
        return held is not None

    @abstractmethod
    def stream(self, work: Work) -> AsyncGenerator[Output, None]: ...

    @abstractmethod
    async def load(self) -> Held:
        """Make the model ready over there."""

    async def look(self) -> Held | None:
        """What it takes by now; None: the server let it go. One that cannot be asked holds what it held."""
        return self.held

    @abstractmethod
    async def unload(self) -> None:
        """Let it go, if the server can be asked to."""
