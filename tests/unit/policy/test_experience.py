"""What is learned while running: the chance that a model is asked for again soon."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partage.policy.experience import Reuse

GAPS_S = st.lists(st.floats(0, 1e5), min_size=9, max_size=120)


@given(gaps_s=GAPS_S, idle_s=st.floats(0, 1e5), horizon_s=st.floats(0, 1000))
def test_chance_is_the_part_of_gaps_as_long_as_this_one_that_end_within_the_horizon(
    gaps_s: list[float], idle_s: float, horizon_s: float
):
    reuse, now_s = Reuse(), 0.0
    reuse.arrived(now_s, 1.0)
    seen_s = list[float]()
    for gap_s in gaps_s:
        seen_s.append((now_s + gap_s) - now_s)
        now_s += gap_s
        reuse.arrived(now_s, 1.0)
    idle_s = (now_s + idle_s) - now_s
    longer = [gap_s for gap_s in seen_s if doublings(gap_s) >= doublings(idle_s)]
    soon = [gap_s for gap_s in longer if doublings(gap_s) <= doublings(idle_s + horizon_s)]
    if longer:
        assert reuse.probability(now_s + idle_s, horizon_s) == pytest.approx(len(soon) / len(longer))


def test_old_gaps_count_for_less():
    reuse, now_s = Reuse(), 0.0
    for gap_s in [1000.0] * 60 + [1.0] * 300:
        now_s += gap_s
        reuse.arrived(now_s, 1.0)
    assert reuse.probability(now_s, 20.0) > 0.95, "60 of 360 gaps were long, but not lately"


def doublings(gap_s: float) -> int:
    """Of a sixteenth of a second: gaps are told apart as far as this."""
    return min(19, max(0, int(gap_s * 16).bit_length() - 1))
