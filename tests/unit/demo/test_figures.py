from __future__ import annotations

import pytest

from partage.demo.figures import Spread, percentile


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, 1.0), (5, 1.0), (30, 2.0), (40, 2.0), (50, 3.0), (95, 5.0), (100, 5.0)],
)
def test_percentile_is_the_nearest_rank(percent: float, expected: float):
    assert percentile([1.0, 2.0, 3.0, 4.0, 5.0], percent) == expected


def test_spread_does_not_depend_on_the_order_and_shows_only_values_that_were_seen():
    samples = [float(number) for number in range(100, 0, -1)]
    assert Spread.of(samples) == Spread(count=100, p50=50.0, p95=95.0, worst=100.0)


def test_spread_of_one_sample_is_that_sample():
    assert Spread.of([0.25]) == Spread(1, 0.25, 0.25, 0.25)


def test_spread_of_nothing_is_none():
    assert Spread.of([]) is None
