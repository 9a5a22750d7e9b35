"""Percentiles of what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle, the slow tail and the worst of some samples; the values were all seen, none is interpolated."""

    count: int
    p50: float
    p95: float
    worst: float

    @classmethod
    def of(cls, samples: Iterable[float]) -> Self | None:
        """None without samples."""
        ordered = sorted(samples)
        return cls(len(ordered), percentile(ordered, 50), percentile(ordered, 95), ordered[-1]) if ordered else None


def percentile(ordered: list[float], percent: float) -> float:
    """Nearest rank: the smallest sample that at least so many percent do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
