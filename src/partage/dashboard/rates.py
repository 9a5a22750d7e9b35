"""Tokens per second of every client, second by second, from the hub's counters."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from partage.dashboard.status import Status

KEPT = 120
"""Points of the line, one per poll."""
WINDOW_S = 10.0
"""The hub counts long answers in steps of 32 tokens: over less time the line would jump."""


class Rates:
    def __init__(self) -> None:
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()
        self._lines: dict[str, deque[float]] = {}

    def see(self, status: Status) -> None:
        now = {one.name: one.streamed_tokens for one in status.clients}
        if self._seen and (status.now_s < self._seen[-1][0] or _fell(self._seen[-1][1], now)):
            self._seen.clear()  # another hub, or the same one started again
            self._lines.clear()
        self._seen.append((status.now_s, now))
        while len(self._seen) > 2 and self._seen[1][0] <= status.now_s - WINDOW_S:
            self._seen.popleft()
        then_s, then = self._seen[0]
        for name, tokens in now.items():
            passed_s = status.now_s - then_s
            rate = (tokens - then.get(name, 0)) / passed_s if passed_s > 0 else 0.0
            self._lines.setdefault(name, deque(maxlen=KEPT)).append(rate)
        for name in self._lines.keys() - now.keys():
            del self._lines[name]

    @property
    def lines(self) -> Mapping[str, Sequence[float]]:
        return self._lines


def _fell(before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    return any(now.get(name, tokens) < tokens for name, tokens in before.items())
