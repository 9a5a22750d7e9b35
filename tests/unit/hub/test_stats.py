from __future__ import annotations

import random

from partage.hub.stats import REMEMBERED, Samples


def test_percentiles_are_those_of_the_last_values_only():
    chance = random.Random(1)
    samples = Samples()
    values = [chance.choice((chance.random(), 0.5)) for _ in range(3 * REMEMBERED)]
    for seen, value in enumerate(values, 1):
        samples.append(value)
        if seen % 97 == 0:
            last = sorted(values[max(0, seen - REMEMBERED) : seen])
            rank = len(last) - 1
            assert samples.to_json() == {
                "p50": last[round(rank * 0.5)],
                "p95": last[round(rank * 0.95)],
                "max": last[-1],
            }


def test_without_values_there_is_nothing_to_say():
    assert Samples().to_json() == {}
