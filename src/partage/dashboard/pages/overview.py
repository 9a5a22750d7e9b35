"""The first page: what is in memory, who waits, what came and went, what every client gets, and what is wrong."""

from __future__ import annotations

from partage.dashboard.pages.acts import Acts
from partage.dashboard.pages.frame import Parts, page, tag
from partage.dashboard.panels import (
    AlertsPanel,
    ClientsPanel,
    ContainersPanel,
    FiguresPanel,
    LeasesPanel,
    MemoryPanel,
    QueuePanel,
    TimelinePanel,
)


def build(parts: Parts) -> None:
    with page("/", parts) as follow:
        figures = FiguresPanel()
        memory = Acts(parts).offer(MemoryPanel())
        leases = Acts(parts).offer(LeasesPanel())
        with tag("div", classes="beside"):
            queue, alerts = QueuePanel(), AlertsPanel()
        follow([figures, memory, leases, queue, alerts, TimelinePanel(), ClientsPanel(), ContainersPanel()])
