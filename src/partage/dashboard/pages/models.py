"""The page of models: every one the hub knows, to load, unload and pin."""

from __future__ import annotations

from partage.dashboard.pages.acts import Acts
from partage.dashboard.pages.frame import Parts, page
from partage.dashboard.panels import ModelsPanel


def build(parts: Parts) -> None:
    with page("/models", parts) as follow:
        follow([Acts(parts).offer(ModelsPanel())])
