"""Load, unload, pin and pause from a page: asked first where others may feel it, told afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from nicegui import ui
from nicegui.events import GenericEventArguments

from partage.dashboard.pages.frame import Parts, confirmed, told
from partage.dashboard.panels import Panel


class Halt(Protocol):
    def __call__(self, name: str, /, *, paused: bool) -> Awaitable[None]: ...


class Acts:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def offer(self, panel: Panel) -> Panel:
        return (
            panel.on("load", self._load)
            .on("unload", self._unload)
            .on("pin", self._pin)
            .on("pause", self._pause)
            .on("pause-lease", self._pause_lease)
        )

    async def _load(self, event: GenericEventArguments) -> None:
        model = str(event.args)
        question = f"Load {model}?"
        if not await confirmed(question, "Models that are not in use may have to leave the memory for it.", "Load"):
            return
        ui.notify(f"Loading {model}")
        with told():
            await self._parts.hub.load(model)
            ui.notify(f"{model} is in memory")
        self._parts.poller.hurry()

    async def _unload(self, event: GenericEventArguments) -> None:
        model = str(event.args)
        consequence = "It leaves as soon as nobody is being served by it; the next request loads it again."
        await self._act("Unload", model, consequence, partial(self._parts.hub.unload, model), "leaves the memory")

    async def _pin(self, event: GenericEventArguments) -> None:
        model, pinned = str(event.args[0]), bool(event.args[1])
        if pinned:
            consequence = "It stays in memory whatever else is wanted; other models have to do with the rest."
        else:
            consequence = "Other models may take its memory again."
        order = partial(self._parts.hub.pin, model, pinned=pinned)
        done = "is pinned" if pinned else "is no longer pinned"
        await self._act("Pin" if pinned else "Unpin", model, consequence, order, done)

    async def _pause(self, event: GenericEventArguments) -> None:
        name, paused = str(event.args[0]), bool(event.args[1])
        await self._halt(name, self._parts.hub.pause, paused=paused)

    async def _pause_lease(self, event: GenericEventArguments) -> None:
        lease, paused = str(event.args[0]), bool(event.args[1])
        await self._halt(lease, self._parts.hub.pause_lease, paused=paused)

    async def _halt(self, name: str, order: Halt, *, paused: bool) -> None:
        if paused:
            consequence = "It computes nothing until somebody resumes it; whoever waits for it goes on waiting."
        else:
            consequence = "It takes its turn again."
        done = "is paused" if paused else "goes on"
        await self._act("Pause" if paused else "Resume", name, consequence, partial(order, name, paused=paused), done)

    async def _act(
        self, what: str, name: str, consequence: str, order: Callable[[], Awaitable[object]], done: str
    ) -> None:
        """Asked first, then ordered, told, and shown."""
        if not await confirmed(f"{what} {name}?", consequence, what):
            return
        with told():
            await order()
            ui.notify(f"{name} {done}")
        self._parts.poller.hurry()
