from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from promises import Promises
from trial import swarm

TestPromises = Promises.TestCase
TestPromises.settings = settings(
    max_examples=40,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("seed", range(40))
def test_promises_hold_in_runs_that_leave_some_kinds_of_step_out(seed: int) -> None:
    swarm(seed, steps=100)
