"""One colour per model, the same on every page and for as long as the dashboard runs."""

from __future__ import annotations

TONES = 8
"""As many as style.css has."""


class Shades:
    def __init__(self) -> None:
        self._tones: dict[str, int] = {}

    def of(self, model: str) -> int:
        """In the order in which models are first seen: the first eight have a colour of their own."""
        return self._tones.setdefault(model, len(self._tones) % TONES)
