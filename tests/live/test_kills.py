"""A small helping of bench/kills.py: engines killed under load take nothing with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.kills import murder

pytestmark = pytest.mark.live


async def test_killed_engines_leave_nothing_behind_and_no_client_without_an_answer_or_a_clear_error(model_home: Path):
    tally = await murder(3, seed=3, model_home=model_home)
    assert tally.killed.total() == 3
    assert tally.defects == []
    assert tally.leaks == {}
    assert tally.seen["RequestRequeued"] > 0, "nobody was retried"
