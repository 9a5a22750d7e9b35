"""The panels of the pages: each draws one part of the picture with a component of its own (panels/*.js)."""

from __future__ import annotations

from typing import ClassVar

from nicegui.element import Element

from partage.dashboard.picture import Picture
from partage.json_value import JsonValue


class Panel(Element):
    part: ClassVar[str] = ""
    """Of the picture; empty where somebody else says what to draw."""

    def show(self, picture: Picture) -> None:
        """Draw what is new; nothing is sent where nothing changed."""
        self.draw(picture.panels.get(self.part))

    def draw(self, data: JsonValue) -> None:
        if self._props.get("data") != data:
            self._props["data"] = data
            self.update()


class FiguresPanel(Panel, component="panels/figures.js"):
    part = "figures"


class MemoryPanel(Panel, component="panels/memory.js"):
    part = "memory"


class QueuePanel(Panel, component="panels/queue.js"):
    part = "queue"


class LeasesPanel(Panel, component="panels/leases.js"):
    part = "leases"


class ClientsPanel(Panel, component="panels/clients.js"):
    part = "clients"


class AlertsPanel(Panel, component="panels/alerts.js"):
    part = "alerts"


class ContainersPanel(Panel, component="panels/containers.js"):
    part = "containers"


class ModelsPanel(Panel, component="panels/models.js"):
    part = "models"


class TimelinePanel(Panel, component="panels/timeline.js"):
    part = "timeline"

    def show(self, picture: Picture) -> None:
        # The page keeps the time itself; it is told anew only with the rest.
        if "at" not in self._props or self._props.get("data") != picture.panels.get(self.part):
            self._props["at"] = picture.at_s
            super().show(picture)


class Banner(Panel, component="panels/banner.js"):
    def show(self, picture: Picture) -> None:
        away = picture.away
        self.draw(None if away is None else {"since": away.since, "message": away.message})


class TalkPanel(Panel, component="panels/talk.js"):
    pass


class EvidencePanel(Panel, component="panels/evidence.js"):
    pass


class AnswerPanel(Panel, component="panels/answer.js"):
    pass
