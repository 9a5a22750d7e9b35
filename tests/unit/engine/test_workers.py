from __future__ import annotations

from collections.abc import Mapping

import pytest

from partage.clock import FakeClock
from partage.engine.process import Child
from partage.engine.workers import BACKOFF_S, PATIENCE_S, Workers

HOST_ONLY = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"}
ONE_THREAD = {**HOST_ONLY, "OMP_NUM_THREADS": "1"}


class Nursery:
    """Children that are only said to run."""

    def __init__(self) -> None:
        self.started: list[Child] = []
        self.fails = False

    async def start(self, environment: Mapping[str, str]) -> Child:
        del environment
        if self.fails:
            raise OSError("no more processes")
        child = Child()
        child.pid = 1000 + len(self.started)
        self.started.append(child)
        return child


def quiet() -> bool:
    return True


def busy() -> bool:
    return False


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(100.0)


@pytest.fixture
def nursery() -> Nursery:
    return Nursery()


@pytest.fixture
async def workers(clock: FakeClock, nursery: Nursery) -> Workers:
    """With one that waits; nobody looks after it but the test."""
    workers = Workers(clock, nursery.start)
    async with workers.waiting(HOST_ONLY, quiet):
        pass
    await workers.look(quiet)
    assert len(nursery.started) == 1
    return workers


async def test_engine_gets_the_worker_that_waits_and_the_next_one_a_new_one(workers: Workers, nursery: Nursery):
    first, second = await workers.get(HOST_ONLY), await workers.get(HOST_ONLY)
    assert [first, second] == nursery.started


async def test_worker_that_was_started_with_another_environment_is_left_waiting(workers: Workers, nursery: Nursery):
    assert await workers.get(ONE_THREAD) is nursery.started[1]
    assert await workers.get(HOST_ONLY) is nursery.started[0]


async def test_there_is_never_more_than_one_that_waits(workers: Workers, nursery: Nursery):
    await workers.look(quiet)
    assert len(nursery.started) == 1


async def test_one_that_was_taken_is_replaced_in_a_quiet_moment_or_when_patience_ends(
    workers: Workers, nursery: Nursery, clock: FakeClock
):
    await workers.look(quiet)
    await workers.get(HOST_ONLY)
    await workers.look(busy)
    clock.advance(PATIENCE_S / 2)
    await workers.look(busy)
    assert len(nursery.started) == 1
    await workers.look(quiet)
    assert len(nursery.started) == 2
    await workers.look(quiet)
    await workers.get(HOST_ONLY)
    clock.advance(PATIENCE_S)
    await workers.look(busy)
    assert len(nursery.started) == 3


async def test_one_that_died_is_never_given_out_and_replaced_after_a_while(
    workers: Workers, nursery: Nursery, clock: FakeClock
):
    nursery.started[0].returncode = -9
    assert await workers.get(HOST_ONLY) is nursery.started[1]
    await workers.look(quiet)
    await workers.look(quiet)
    assert len(nursery.started) == 2
    clock.advance(BACKOFF_S)
    await workers.look(quiet)
    assert len(nursery.started) == 3


async def test_machine_that_can_start_none_is_asked_again_after_a_while(clock: FakeClock, nursery: Nursery):
    workers = Workers(clock, nursery.start)
    nursery.fails = True
    await workers.look(quiet)
    nursery.fails = False
    await workers.look(quiet)
    assert workers.spare_pid is None
    clock.advance(BACKOFF_S)
    await workers.look(quiet)
    assert workers.spare_pid is not None
