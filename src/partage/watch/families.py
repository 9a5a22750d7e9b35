"""Metric families in Prometheus' text format, cheap to count and cheap to write (docs/decisions/012).

A line is rendered again only when its value changed, and a few at a time while they change, so that neither what there is
(200 clients times 100 models are 20 000 lines a family) nor a burst between two scrapes makes a scrape long.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal, TypeAlias

Labels: TypeAlias = tuple[str, ...]
Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

MOST_STALE = 64
"""Lines of a family that a scrape may find to render: more are rendered when they change."""

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(slots=True, kw_only=True)
class Family:
    """One metric with every combination of its label values that has been seen."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Kind = "counter"
    buckets: tuple[float, ...] = ()
    _values: dict[Labels, float] = field(default_factory=dict[Labels, float])
    _counts: dict[Labels, list[int]] = field(default_factory=dict[Labels, list[int]])
    _heads: dict[Labels, tuple[str, ...]] = field(default_factory=dict[Labels, tuple[str, ...]])
    _lines: dict[Labels, str] = field(default_factory=dict[Labels, str])
    _stale: set[Labels] = field(default_factory=set[Labels])

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count. Counters only grow: a negative step would read as a restart."""
        assert by >= 0, f"{self.name} cannot fall"
        self._values[labels] = self._values.get(labels, 0.0) + by
        self._changed(labels)

    def reach(self, *labels: str, value: float) -> None:
        """Take the value where it is larger: for a counter that is kept elsewhere and may be corrected downwards."""
        if value > self._values.get(labels, 0.0):
            self._values[labels] = value
            self._changed(labels)

    def observe(self, *labels: str, value: float) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self.buckets) + 1)
        counts[bisect_left(self.buckets, value)] += 1
        self._values[labels] = self._values.get(labels, 0.0) + value
        self._changed(labels)

    def show(self, readings: Mapping[Labels, float | None]) -> None:
        """A gauge as it is now; what is gone, or could not be read, is not written."""
        self._values = {labels: value for labels, value in readings.items() if value is not None}
        self._lines.clear()
        self._heads = {labels: heads for labels, heads in self._heads.items() if labels in self._values}
        self._stale = set(self._values)

    def value(self, *labels: str) -> float:
        """A histogram's is the sum of what it observed."""
        return self._values.get(labels, 0.0)

    def count(self, *labels: str) -> int:
        return sum(self._counts.get(labels, ()))

    def _changed(self, labels: Labels) -> None:
        self._stale.add(labels)
        if len(self._stale) > MOST_STALE:
            self._render_stale()

    def _render_stale(self) -> None:
        for labels in self._stale:
            self._lines[labels] = self._render(labels)
        self._stale.clear()

    def text(self) -> str:
        self._render_stale()
        return f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n" + "".join(self._lines.values())

    def _render(self, labels: Labels) -> str:
        heads = self._heads.get(labels)
        if heads is None:
            heads = self._heads[labels] = self._make_heads(labels)
        value = self._values[labels]
        if self.kind != "histogram":
            return f"{heads[0]}{value}\n"
        so_far = list(accumulate(self._counts[labels]))
        return "".join(map("{}{}\n".format, heads, (*so_far, value, so_far[-1])))

    def _make_heads(self, values: Labels) -> tuple[str, ...]:
        """What stands before the value, line by line; it never changes."""
        pairs = ",".join(
            f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(self.labels, values, strict=True)
        )
        whole = f"{{{pairs}}} " if pairs else " "
        if self.kind != "histogram":
            return (self.name + whole,)
        lead = f"{pairs}," if pairs else ""
        buckets = (f'{self.name}_bucket{{{lead}le="{bound}"}} ' for bound in (*self.buckets, "+Inf"))
        return (*buckets, f"{self.name}_sum{whole}", f"{self.name}_count{whole}")


def exposition(families: Iterable[Family]) -> bytes:
    return "".join(family.text() for family in families).encode()
