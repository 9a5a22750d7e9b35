"""Load, unload and pin from a page: asked first where others may feel it, told afterwards."""

from __future__ import annotations

from nicegui import ui
from nicegui.events import GenericEventArguments

from partage.dashboard.pages.frame import Parts, confirmed, told
from partage.dashboard.panels import Panel


class Acts:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def offer(self, panel: Panel) -> Panel:
        return panel.on("load", self._load).on("unload", self._unload).on("pin", self._pin)

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
