"""Asks the hub once a second for all open pages together, and tells them what changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar

from partage.client.wire import ModelInfo
from partage.clock import Clock
from partage.dashboard.picture import Away, Heard, Picture, draw
from partage.dashboard.rates import Rates
from partage.dashboard.shades import Shades
from partage.dashboard.status import Alerts, Machine, Status, read_alerts, read_machine, read_status
from partage.errors import NotFound, PartageError
from partage.json_value import JsonObject

log = logging.getLogger(__name__)

T = TypeVar("T")

EVERY_S = 1.0
UNWATCHED_EVERY_S = 10.0
"""Without an open page, only to have something to show at once when one is opened."""
MODELS_EVERY_S = 5.0
ABSENT_EVERY_S = 60.0
"""What the hub does not have is asked for again so often: it may be updated."""


class Hub(Protocol):
    """client.HubClient."""

    async def status(self) -> JsonObject: ...

    async def models(self) -> list[ModelInfo]: ...

    async def alerts(self) -> JsonObject: ...

    async def machine(self) -> JsonObject: ...


class Poller:
    def __init__(self, hub: Hub, clock: Clock, unix_s: Callable[[], float]) -> None:
        self._hub, self._clock, self._unix_s = hub, clock, unix_s
        self._rates = Rates()
        self._shades = Shades()
        self._models: Sequence[ModelInfo] = ()
        self._models_due_s = 0.0
        self._absent_until_s: dict[str, float] = {}
        self._hurry = asyncio.Event()
        self.picture = Picture()
        self.listeners: list[Callable[[Picture], None]] = []
        """One per open page."""

    def hurry(self) -> None:
        """Something was asked of the hub, or a page was opened: look now."""
        self._models_due_s = 0.0
        self._hurry.set()

    async def run(self) -> None:
        while True:
            await self.poll()
            try:
                async with asyncio.timeout(EVERY_S if self.listeners else UNWATCHED_EVERY_S):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()

    async def poll(self) -> None:
        """Ask once. The hub being away is a picture like any other: the last one, marked."""
        try:
            heard = await self._ask()
        except PartageError as error:
            away = self.picture.away
            if away is None:
                log.warning("the hub is away: %s", error.message)
            since = away.since if away else datetime.fromtimestamp(self._unix_s()).astimezone().strftime("%H:%M:%S")
            self.picture = replace(self.picture, away=Away(message=error.message, since=since))
        else:
            self._rates.see(heard.status)
            self.picture = draw(heard, self._rates, self._shades, unix_s=self._unix_s())
        for listener in list(self.listeners):
            listener(self.picture)

    async def _ask(self) -> Heard:
        status: Status = read_status(await self._hub.status())
        now_s = self._clock.now_s()
        if now_s >= self._models_due_s:
            self._models = await self._hub.models()
            self._models_due_s = now_s + MODELS_EVERY_S
        alerts: Alerts | None = await self._optional("alerts", self._hub.alerts, read_alerts)
        machine: Machine | None = await self._optional("machine", self._hub.machine, read_machine)
        return Heard(status=status, models=self._models, alerts=alerts, machine=machine)

    async def _optional(
        self, name: str, ask: Callable[[], Awaitable[JsonObject]], read: Callable[[JsonObject], T]
    ) -> T | None:
        if self._clock.now_s() < self._absent_until_s.get(name, 0.0):
            return None
        try:
            return read(await ask())
        except NotFound:
            self._absent_until_s[name] = self._clock.now_s() + ABSENT_EVERY_S
            return None
