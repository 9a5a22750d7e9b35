"""CUDA process checkpoint: a process's device memory to RAM and back. The only file that imports cuda.core.

The driver (570 or newer, Linux) locks the process (its next CUDA call blocks, what was submitted finishes), copies its device
memory to RAM and releases the device; restore and unlock are the way back. The process notices nothing but the time. It cannot
be done to processes with unified memory, memory shared over IPC, or MPS: they are refused by the driver and stay as they are.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any, Protocol

from partage.errors import ParkFailed

log = logging.getLogger(__name__)

LEAST_DRIVER = 570
LOCK_TIMEOUT_MS = 10_000
"""For what was submitted to finish. An idle engine has nothing submitted."""


class Process(Protocol):
    """cuda.core.checkpoint.Process. Every method may raise whatever the driver or its bindings raise."""

    def lock(self, timeout_ms: int = 0) -> None: ...

    def checkpoint(self) -> None: ...

    def restore(self) -> None: ...

    def unlock(self) -> None: ...


class MakeProcess(Protocol):
    def __call__(self, pid: int) -> Process: ...


class CudaCheckpoint:
    """Satisfies hub.residents.Checkpoint. Its calls block for as long as the copy takes; the GIL is free meanwhile."""

    def __init__(self, process: MakeProcess) -> None:
        self._process = process

    def park(self, pid: int) -> None:
        """Raises ParkFailed; the process goes on as before."""
        try:
            process = self._process(pid)
            process.lock(LOCK_TIMEOUT_MS)
        except Exception as error:  # of the bindings: CUDAError, RuntimeError, ValueError
            raise ParkFailed(f"it could not be locked: {error}") from error
        try:
            process.checkpoint()
        except Exception as error:
            self._go_on(process, pid)
            raise ParkFailed(f"its memory could not be moved to RAM: {error}") from error

    def unpark(self, pid: int) -> None:
        """Raises ParkFailed; the process can only be ended."""
        try:
            process = self._process(pid)
            process.restore()
            process.unlock()
        except Exception as error:
            raise ParkFailed(f"its memory could not be moved back: {error}") from error

    def lock(self, pid: int) -> None:
        """Only hold it: a pause. Raises ParkFailed."""
        try:
            self._process(pid).lock(LOCK_TIMEOUT_MS)
        except Exception as error:
            raise ParkFailed(f"it could not be locked: {error}") from error

    def unlock(self, pid: int) -> None:
        """Raises ParkFailed."""
        try:
            self._process(pid).unlock()
        except Exception as error:
            raise ParkFailed(f"it could not be unlocked: {error}") from error

    def _go_on(self, process: Process, pid: int) -> None:
        try:
            process.unlock()
        except Exception:  # it is to be stopped anyway
            log.exception("process %d could not be unlocked", pid)


def bindings_installed() -> bool:
    try:
        return importlib.util.find_spec("cuda.core") is not None
    except ImportError:
        return False


def find_checkpoint(driver_version: str | None) -> CudaCheckpoint | None:
    """None where the driver is too old or absent, or cuda-core is not installed: park is stop."""
    major = (driver_version or "").partition(".")[0]
    if not major.isdigit() or int(major) < LEAST_DRIVER:
        return None
    try:
        module: Any = importlib.import_module("cuda.core.checkpoint")
        driver: Any = importlib.import_module("cuda.bindings.driver")
        (status,) = driver.cuInit(0)  # no context, no device memory: only the driver itself
    except ImportError as error:
        log.info("engines are not parked in RAM: %s (pip install cuda-core cuda-bindings)", error)
        return None
    except (RuntimeError, OSError) as error:  # of the bindings, where there is no libcuda (the `compute` capability)
        log.warning("engines are not parked in RAM: %s", error)
        return None
    if int(status) != 0:
        log.warning("engines are not parked in RAM: cuInit says %s", status)
        return None
    return CudaCheckpoint(module.Process)
