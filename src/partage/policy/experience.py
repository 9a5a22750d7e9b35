"""What is learned while running: how soon a model is asked for again, and how much time goes into loading.

Reuse: a histogram of idle times with logarithmic bins and ageing (Serverless in the Wild, ATC'20), where there are enough
samples; before that, a Poisson guess from the decayed rate. Pressure: seconds of loading in the last minutes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BINS = 20
_SHORTEST_S = 1 / 16
_ENOUGH_SAMPLES = 8
_AGE_AT = 128.0
_RATE_MEMORY = 0.2


@dataclass(slots=True)
class Reuse:
    """Arrivals of one model."""

    last_s: float | None = None
    gap_s: float | None = None
    """Smoothed."""
    at_least: list[float] = field(default_factory=lambda: [0.0] * (BINS + 1))
    """Gaps in each bin and in all longer ones, so that how many are in a range is a difference; the last is 0."""
    samples: float = 0.0
    value: float = 0.0
    """Smoothed class value of those who ask."""

    def arrived(self, now_s: float, value: float) -> None:
        if self.last_s is None:
            self.value = value
        else:
            gap_s = now_s - self.last_s
            self.gap_s = gap_s if self.gap_s is None else self.gap_s + _RATE_MEMORY * (gap_s - self.gap_s)
            self.value += _RATE_MEMORY * (value - self.value)
            for bin_ in range(_bin(gap_s) + 1):
                self.at_least[bin_] += 1.0
            self.samples += 1.0
            if self.samples >= _AGE_AT:
                self.at_least = [count / 2 for count in self.at_least]
                self.samples /= 2
        self.last_s = now_s

    def probability(self, now_s: float, horizon_s: float) -> float:
        """That the next request comes within the horizon, given how long there has been none."""
        if self.last_s is None:
            return 0.0
        idle_s = now_s - self.last_s
        if self.samples >= _ENOUGH_SAMPLES:
            longer = self.at_least[_bin(idle_s)]
            if longer >= 1.0:
                return (longer - self.at_least[_bin(idle_s + horizon_s) + 1]) / longer
        gap_s = max(self.gap_s or 300.0, idle_s)
        return 1.0 - math.exp(-horizon_s / max(gap_s, 1e-3))


def _bin(gap_s: float) -> int:
    """By the power of two of the gap in units of the shortest."""
    return min(BINS - 1, max(0, int(gap_s / _SHORTEST_S).bit_length() - 1))


@dataclass(slots=True)
class Pressure:
    """The governor's reading: part of the recent time that went into loading; and how long the queue for memory is."""

    patience_s: tuple[float, float, float]
    """By class: after that, who waits for memory is next; as of the last search for room (patience.py)."""
    memory_s: float = 300.0
    loading_s: float = 0.0
    at_s: float = 0.0

    def loaded(self, now_s: float, load_s: float) -> None:
        self.loading_s = self._decayed_s(now_s) + load_s
        self.at_s = now_s

    def part(self, now_s: float) -> float:
        return self._decayed_s(now_s) / self.memory_s

    def _decayed_s(self, now_s: float) -> float:
        return self.loading_s * math.exp(-(now_s - self.at_s) / self.memory_s)
