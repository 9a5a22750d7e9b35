"""The machine read once: GPUs, host, and who holds what. Blocks for milliseconds: call it in a thread."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from partage.device.attribution import Owner, attribute
from partage.device.host import HOST
from partage.device.host_load import HostLoad, read_load
from partage.device.nvml import GpuSurvey, Nvml
from partage.device.processes import Processes
from partage.domain import DeviceId, EngineId


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    survey: GpuSurvey = field(default_factory=GpuSurvey)
    load: HostLoad = field(default_factory=HostLoad)
    owners: Mapping[DeviceId, tuple[Owner, ...]] = field(default_factory=dict[DeviceId, tuple[Owner, ...]])
    """Per GPU."""
    engine_bytes: Mapping[DeviceId, int] = field(default_factory=dict[DeviceId, int])
    """What our engines' processes hold, as the driver and the kernel count; a device is missing where that is not known."""
    host_pids: bool | None = None
    """Whether the driver's process ids are ours: False in a container without the host's pid namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Whom process ids and container ids belong to, at this moment."""

    engines: Mapping[int, EngineId] = field(default_factory=dict[int, EngineId])
    leases: Mapping[int, str] = field(default_factory=dict[int, str])
    containers: Mapping[str, str] = field(default_factory=dict[str, str])


class Machine:
    """Reads this machine. Not for use by two threads at a time."""

    def __init__(self, home: Path, *, nvml: Nvml | None = None, proc: Processes | None = None) -> None:
        self._home = home
        self._nvml = nvml or Nvml()
        self._proc = proc or Processes()

    def read(self, names: Names) -> Reading:
        survey, host_pids = self._nvml.read(), self._proc.sees_host_pids()
        owners = {
            gpu.uuid: attribute(
                gpu.processes,
                self._proc,
                engines=names.engines,
                leases=names.leases,
                containers=names.containers,
            )
            for gpu in survey.gpus
            # An empty list is no answer in a container without the host's process ids: it may only be hidden there.
            if gpu.processes or (gpu.processes is not None and host_pids is not False)
        }
        engine_bytes: dict[DeviceId, int] = {HOST: sum(map(_resident_bytes, names.engines))}
        for device, held in owners.items():
            if all(one.kind != "unseen" for one in held):
                engine_bytes[device] = sum(one.used_bytes or 0 for one in held if one.kind == "engine")
        return Reading(
            survey=survey,
            load=read_load(self._home),
            owners=owners,
            engine_bytes=engine_bytes,
            host_pids=host_pids,
        )

    def close(self) -> None:
        self._nvml.close()


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).memory_info().rss
    return 0
