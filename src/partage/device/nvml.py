"""NVIDIA GPUs through NVML: which there are, how full, how hot, and who holds what. The only file that imports pynvml."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import pynvml

from partage.domain import Device

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_RESERVE_BYTES = 512 << 20
"""Per GPU: what the estimate cannot see (fragmentation, the desktop's growth)."""
MOST_XIDS = 16
"""Errors taken from the driver's queue in one reading."""

THROTTLES = {
    0x0000000000000004: "power cap",
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "temperature (driver)",
    0x0000000000000040: "temperature (hardware)",
    0x0000000000000080: "power brake",
}
"""Bits of nvmlClocksEventReasons that say the GPU is slower than it could be; idle and set clocks are no complaint."""
COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}


@dataclass(frozen=True, slots=True)
class GpuProcess:
    pid: int
    """As the driver counts: the host's, or 0 where it is not ours to see."""
    used_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU now. A missing reading is None, not an exception."""

    uuid: str
    index: int
    name: str
    total_bytes: int
    """That processes can have: what the driver itself sets aside is not counted. 0: it has none of its own (unified memory)."""
    used_bytes: int | None
    compute_capability: str | None = None
    """"9.0": which code it runs."""
    processes: tuple[GpuProcess, ...] | None = None
    """None: not to be had here."""
    utilisation_percent: int | None = None
    memory_utilisation_percent: int | None = None
    """Of the memory's bandwidth, not of its size."""
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    throttles: tuple[str, ...] | None = None
    ecc_uncorrected: int | None = None
    """Since the driver was loaded."""
    compute_mode: str | None = None
    mig: bool | None = None
    persistence: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSurvey:
    """Everything NVML says at one moment."""

    gpus: tuple[GpuReading, ...] = ()
    error: str | None = None
    """What NVML said instead: no driver, or a device that fell away ("Unknown Error")."""
    no_library: bool = False
    """There is no libnvidia-ml here: a machine without the driver, or a container without the `utility` capability."""
    driver_version: str | None = None
    cuda_version: str | None = None
    """The newest CUDA the driver can run."""
    xids: tuple[tuple[str, int], ...] = ()
    """(uuid, XID) of the driver's error events since the last reading."""


def read_gpus() -> list[GpuReading]:
    """Every GPU the driver shows to this process; empty without driver or GPU."""
    with contextlib.closing(Nvml()) as nvml:
        return list(nvml.read().gpus)


def driver_version() -> str | None:
    """As the driver counts itself, "580.65.06"; None without one."""
    with contextlib.closing(Nvml()) as nvml:
        return nvml.read().driver_version


def gpu_device(reading: GpuReading, *, memory_bytes: int | None = None, reserve_bytes: int | None = None) -> Device:
    most = memory_bytes or reading.total_bytes
    return Device(
        id=reading.uuid,
        kind="cuda",
        name=reading.name,
        index=reading.index,
        total_bytes=min(reading.total_bytes or most, most),
        reserve_bytes=DEFAULT_RESERVE_BYTES if reserve_bytes is None else reserve_bytes,
        contended=True,
    )


class Nvml:
    """NVML held open between readings, and opened again after it failed: a GPU that comes back is seen again.

    Not for use by two threads at a time.
    """

    def __init__(self, library: Any = pynvml) -> None:  # noqa: ANN401 the module, or a fake of it
        self._library = library
        self._open = False
        self._events: Any = None

    def read(self) -> GpuSurvey:
        """Every GPU; what could not be read is None, and `error` says what NVML complained of."""
        nvml = self._library
        try:
            if not self._open:
                nvml.nvmlInit()
                self._open = True
                self._listen()
            count = nvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self.close()
            return GpuSurvey(error=str(error), no_library=_code(error) == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        readings: list[GpuReading] = []
        complaint: str | None = None
        for index in range(count):
            try:
                readings.append(self._reading(index))
            except pynvml.NVMLError as error:  # fallen off the bus, or no longer ours to see
                complaint = f"GPU {index}: {error}"
        cuda = _maybe(nvml.nvmlSystemGetCudaDriverVersion)
        survey = GpuSurvey(
            gpus=tuple(readings),
            error=complaint,
            driver_version=_maybe(nvml.nvmlSystemGetDriverVersion),
            cuda_version=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
            xids=self._xids(),
        )
        if complaint is not None:
            self.close()
        return survey

    def close(self) -> None:
        if self._events is not None:
            _maybe(self._library.nvmlEventSetFree, self._events)
        if self._open:
            _maybe(self._library.nvmlShutdown)
        self._open, self._events = False, None

    def _reading(self, index: int) -> GpuReading:
        nvml = self._library
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        total_bytes, used_bytes = self._memory(handle)
        capability = _maybe(nvml.nvmlDeviceGetCudaComputeCapability, handle)
        rates = _maybe(nvml.nvmlDeviceGetUtilizationRates, handle)
        power_mw = _maybe(nvml.nvmlDeviceGetPowerUsage, handle)
        limit_mw = _maybe(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
        reasons = _maybe(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        mode = _maybe(nvml.nvmlDeviceGetComputeMode, handle)
        mig = _maybe(nvml.nvmlDeviceGetMigMode, handle)
        persistence = _maybe(nvml.nvmlDeviceGetPersistenceMode, handle)
        return GpuReading(
            uuid=str(nvml.nvmlDeviceGetUUID(handle)),
            index=index,
            name=str(nvml.nvmlDeviceGetName(handle)),
            total_bytes=total_bytes,
            used_bytes=used_bytes,
            compute_capability=None if capability is None else f"{capability[0]}.{capability[1]}",
            processes=self._processes(handle),
            utilisation_percent=None if rates is None else int(rates.gpu),
            memory_utilisation_percent=None if rates is None else int(rates.memory),
            temperature_c=_maybe(nvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
            power_w=None if power_mw is None else power_mw / 1000,
            power_limit_w=None if limit_mw is None else limit_mw / 1000,
            sm_clock_mhz=_maybe(nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            memory_clock_mhz=_maybe(nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
            throttles=None if reasons is None else tuple(name for bit, name in THROTTLES.items() if reasons & bit),
            ecc_uncorrected=_maybe(
                nvml.nvmlDeviceGetTotalEccErrors,
                handle,
                pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                pynvml.NVML_VOLATILE_ECC,
            ),
            compute_mode=None if mode is None else COMPUTE_MODES.get(mode, str(mode)),
            mig=None if mig is None else bool(mig[0]),
            persistence=None if persistence is None else bool(persistence),
        )

    def _memory(self, handle: object) -> tuple[int, int | None]:
        """(total, used); (0, None) of a GPU that has none but the host's (GB10, Jetson)."""
        nvml = self._library
        with contextlib.suppress(pynvml.NVMLError):  # a driver older than 510 has only the other
            memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
            return int(memory.total - memory.reserved), int(memory.used)
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        except pynvml.NVMLError as error:
            if _code(error) == pynvml.NVML_ERROR_NOT_SUPPORTED:
                return 0, None
            raise
        return int(memory.total), int(memory.used)

    def _processes(self, handle: object) -> tuple[GpuProcess, ...] | None:
        """Compute and graphics; one that does both is listed in both, with the same bytes."""
        compute = _maybe(self._library.nvmlDeviceGetComputeRunningProcesses, handle)
        if compute is None:
            return None
        graphics = _maybe(self._library.nvmlDeviceGetGraphicsRunningProcesses, handle) or []
        found = {int(p.pid): p.usedGpuMemory for p in (*graphics, *compute)}
        return tuple(GpuProcess(pid, None if used is None else int(used)) for pid, used in sorted(found.items()))

    def _listen(self) -> None:
        nvml = self._library
        with contextlib.suppress(pynvml.NVMLError):
            self._events = nvml.nvmlEventSetCreate()
            for index in range(nvml.nvmlDeviceGetCount()):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                nvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._events)

    def _xids(self) -> tuple[tuple[str, int], ...]:
        return tuple(self._waiting_xids()) if self._events is not None else ()

    def _waiting_xids(self) -> Generator[tuple[str, int]]:
        for _ in range(MOST_XIDS):
            event = _maybe(self._library.nvmlEventSetWait_v2, self._events, 0)
            if event is None:  # a timeout: no more
                return
            uuid = _maybe(self._library.nvmlDeviceGetUUID, event.device)
            yield str(uuid or ""), int(event.eventData)


def _maybe(read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """What it says, or None where this GPU, driver or container does not let it."""
    try:
        return read(*args, **kwargs)
    except (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError):  # the latter, no kin, of drivers older than 510
        return None


def _code(error: pynvml.NVMLError) -> int:
    return int(getattr(error, "value", 0))
