"""NVML without a GPU, for tests: answers as recorded, and fails where it is told to."""
# ruff: noqa: N802 - NVML's own names

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TypeVar

import pynvml

T = TypeVar("T")

GIB = 1 << 30


@dataclass(slots=True)
class FakeGpu:
    """A GPU as one H100 answered; None: this reading is not supported."""

    uuid: str = "GPU-0"
    name: str = "NVIDIA H100 80GB HBM3"
    total_bytes: int | None = 80 * GIB
    reserved_bytes: int | None = 0
    """By the driver; None: it is too old to say."""
    used_bytes: int = 2 * GIB
    processes: tuple[tuple[int, int | None], ...] | None = ((4242, GIB),)
    utilisation: tuple[int, int] | None = (37, 12)
    temperature_c: int | None = 41
    power_mw: int | None = 118_500
    throttles: int | None = 0x1
    ecc: int | None = 0
    compute_mode: int | None = 0
    mig: bool | None = False
    persistence: bool | None = True
    lost: bool = False


@dataclass(slots=True)
class FakeNvml:
    """Stands in for the module pynvml. `fails` is what every call raises from now on (the container lost its device)."""

    gpus: list[FakeGpu] = field(default_factory=list[FakeGpu])
    fails: int | None = None
    xids: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(index, XID) not yet taken."""
    opened: int = 0

    def __getattr__(self, name: str) -> Callable[..., object]:
        if not name.startswith("nvml"):
            raise AttributeError(name)

        def call(*args: object, **named: object) -> object:
            if self.fails is not None and name != "nvmlShutdown":
                raise pynvml.NVMLError(self.fails)
            return getattr(self, f"_{name}")(*args, **named)

        return call

    def _nvmlInit(self) -> None:
        self.opened += 1

    def _nvmlShutdown(self) -> None:
        self.opened -= 1

    def _nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def _nvmlSystemGetDriverVersion(self) -> str:
        return "580.65.06"

    def _nvmlSystemGetCudaDriverVersion(self) -> int:
        return 13000

    def _nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        gpu = self.gpus[index]
        if gpu.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return gpu

    def _nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:
        return gpu.uuid

    def _nvmlDeviceGetName(self, gpu: FakeGpu) -> str:
        return gpu.name

    def _nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu, version: int | None = None) -> object:
        total, reserved = _told(gpu.total_bytes), gpu.reserved_bytes
        if version is None:
            return SimpleNamespace(total=total, used=gpu.used_bytes + (reserved or 0))
        return SimpleNamespace(total=total, used=gpu.used_bytes, reserved=_told(reserved))

    def _nvmlDeviceGetCudaComputeCapability(self, gpu: FakeGpu) -> tuple[int, int]:
        return (9, 0)

    def _nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[object]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in _told(gpu.processes)]

    def _nvmlDeviceGetGraphicsRunningProcesses(self, gpu: FakeGpu) -> list[object]:
        return []

    def _nvmlDeviceGetUtilizationRates(self, gpu: FakeGpu) -> object:
        compute, memory = _told(gpu.utilisation)
        return SimpleNamespace(gpu=compute, memory=memory)

    def _nvmlDeviceGetTemperature(self, gpu: FakeGpu, sensor: int) -> int:
        return _told(gpu.temperature_c)

    def _nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:
        return _told(gpu.power_mw)

    def _nvmlDeviceGetEnforcedPowerLimit(self, gpu: FakeGpu) -> int:
        return 700_000

    def _nvmlDeviceGetClockInfo(self, gpu: FakeGpu, clock: int) -> int:
        return 1980 if clock == pynvml.NVML_CLOCK_SM else 2619

    def _nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGpu) -> int:
        return _told(gpu.throttles)

    def _nvmlDeviceGetTotalEccErrors(self, gpu: FakeGpu, kind: int, counter: int) -> int:
        return _told(gpu.ecc)

    def _nvmlDeviceGetComputeMode(self, gpu: FakeGpu) -> int:
        return _told(gpu.compute_mode)

    def _nvmlDeviceGetMigMode(self, gpu: FakeGpu) -> list[int]:
        return [int(_told(gpu.mig))] * 2

    def _nvmlDeviceGetPersistenceMode(self, gpu: FakeGpu) -> int:
        return int(_told(gpu.persistence))

    def _nvmlEventSetCreate(self) -> object:
        return object()

    def _nvmlEventSetFree(self, events: object) -> None:
        pass

    def _nvmlDeviceRegisterEvents(self, gpu: FakeGpu, kind: int, events: object) -> None:
        pass

    def _nvmlEventSetWait_v2(self, events: object, timeout_ms: int) -> object:
        if not self.xids:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        index, xid = self.xids.pop(0)
        return SimpleNamespace(device=self.gpus[index], eventData=xid)


def _told(value: T | None) -> T:
    if value is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return value
