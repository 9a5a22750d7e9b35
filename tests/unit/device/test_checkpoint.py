from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from partage.device.checkpoint import CudaCheckpoint, find_checkpoint
from partage.errors import ParkFailed


@dataclass
class FakeProcess:
    """cuda.core.checkpoint.Process by the states of its documentation; fails where it is told to."""

    pid: int = 0
    fails: str = ""
    state: str = "running"
    seen: list[str] = field(default_factory=list[str])

    def _step(self, name: str, needs: str, then: str) -> None:
        self.seen.append(name)
        if name == self.fails:
            raise RuntimeError("CUDA_ERROR_OPERATING_SYSTEM")
        assert self.state == needs, f"{name} of a process that is {self.state}"
        self.state = then

    def lock(self, timeout_ms: int = 0) -> None:
        assert timeout_ms > 0, "0 is for ever"
        self._step("lock", "running", "locked")

    def checkpoint(self) -> None:
        self._step("checkpoint", "locked", "checkpointed")

    def restore(self) -> None:
        self._step("restore", "checkpointed", "locked")

    def unlock(self) -> None:
        self._step("unlock", "locked", "running")


def test_parking_and_back_goes_through_the_driver_s_states():
    process = FakeProcess()
    checkpoint = CudaCheckpoint(lambda pid: process)
    checkpoint.park(7)
    assert process.state == "checkpointed"
    checkpoint.unpark(7)
    assert process.state == "running"


@pytest.mark.parametrize("step", ["lock", "checkpoint"])
def test_a_process_that_cannot_be_parked_goes_on(step: str):
    process = FakeProcess(fails=step)
    with pytest.raises(ParkFailed, match="OPERATING_SYSTEM"):
        CudaCheckpoint(lambda pid: process).park(7)
    assert process.state == "running"


@pytest.mark.parametrize("step", ["restore", "unlock"])
def test_a_process_that_cannot_come_back_says_so(step: str):
    process = FakeProcess(fails=step, state="checkpointed")
    with pytest.raises(ParkFailed, match="moved back"):
        CudaCheckpoint(lambda pid: process).unpark(7)


def test_a_pause_is_a_lock_without_a_copy():
    process = FakeProcess()
    checkpoint = CudaCheckpoint(lambda pid: process)
    checkpoint.lock(7)
    checkpoint.unlock(7)
    assert process.seen == ["lock", "unlock"]


@pytest.mark.parametrize("version", [None, "", "565.57.01", "nonsense"])
def test_without_a_driver_that_can_nothing_is_parked(version: str | None):
    assert find_checkpoint(version) is None
