"""Load, unload, pin and pause from a page: asked first where others may feel it, told afterwards."""

from __future__ import annotations

from collections.abc import Awaitable
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
        if not await confirmed(f"Unload {model}?", consequence, "Unload"):
            return
        with told():
            await self._parts.hub.unload(model)
            ui.notify(f"{model} leaves the memory")
        self._parts.poller.hurry()

    async def _pin(self, event: GenericEventArguments) -> None:
        model, pinned = str(event.args[0]), bool(event.args[1])
        question = f"{'Pin' if pinned else 'Unpin'} {model}?"
        if pinned:
            consequence = "It stays in memory whatever else is wanted; other models have to do with the rest."
        else:
            consequence = "Other models may take its memory again."
        if not await confirmed(question, consequence, "Pin" if pinned else "Unpin"):
            return
        with told():
            await self._parts.hub.pin(model, pinned=pinned)
            ui.notify(f"{model} is {'pinned' if pinned else 'no longer pinned'}")
        self._parts.poller.hurry()

    async def _pause(self, event: GenericEventArguments) -> None:
        name, paused = str(event.args[0]), bool(event.args[1])
        await self._halt(name, self._parts.hub.pause, paused=paused)

    async def _pause_lease(self, event: GenericEventArguments) -> None:
        lease, paused = str(event.args[0]), bool(event.args[1])
        await self._halt(lease, self._parts.hub.pause_lease, paused=paused)

    async def _halt(self, name: str, order: Halt, *, paused: bool) -> None:
        question = f"{'Pause' if paused else 'Resume'} {name}?"
        if paused:
            consequence = "It computes nothing until somebody resumes it; whoever waits for it goes on waiting."
        else:
            consequence = "It takes its turn again."
        if not await confirmed(question, consequence, "Pause" if paused else "Resume"):
            return
        with told():
            await order(name, paused=paused)
            ui.notify(f"{name} {'is paused' if paused else 'goes on'}")
        self._parts.poller.hurry()
