"""NVIDIA GPUs through NVML: which there are, how full, and who holds what. The only file that imports pynvml."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass

import pynvml

from partage.domain import Device

DEFAULT_RESERVE_BYTES = 512 << 20
"""Per GPU: what the estimate cannot see (fragmentation, the desktop's growth)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU now. A missing reading is None, not an exception."""

    uuid: str
    index: int
    name: str
    total_bytes: int
    used_bytes: int | None
    process_bytes: tuple[tuple[int, int], ...]
    """(pid, bytes) of the processes NVML can see from here; pids are the host's, so a container may see none."""


def read_gpus() -> list[GpuReading]:
    """Every GPU the driver shows to this process; empty without driver or GPU."""
    with _nvml() as present:
        if not present:
            return []
        return [reading for index in range(pynvml.nvmlDeviceGetCount()) if (reading := _read(index)) is not None]


def gpu_device(reading: GpuReading, *, memory_bytes: int | None = None, reserve_bytes: int | None = None) -> Device:
    return Device(
        id=reading.uuid,
        kind="cuda",
        name=reading.name,
        index=reading.index,
        total_bytes=min(reading.total_bytes, memory_bytes or reading.total_bytes),
        reserve_bytes=DEFAULT_RESERVE_BYTES if reserve_bytes is None else reserve_bytes,
    )


@contextlib.contextmanager
def _nvml() -> Generator[bool]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _read(index: int) -> GpuReading | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid, name = str(pynvml.nvmlDeviceGetUUID(handle)), str(pynvml.nvmlDeviceGetName(handle))
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return None  # fallen off the bus, or not ours to see
    return GpuReading(
        uuid=uuid,
        index=index,
        name=name,
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
        process_bytes=_processes(handle),
    )


def _processes(handle: object) -> tuple[tuple[int, int], ...]:
    try:
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except pynvml.NVMLError:
        return ()
    return tuple((int(p.pid), int(p.usedGpuMemory or 0)) for p in processes)
