"""The host as a device: how much RAM and how many cores this process may really use, cgroup limits included."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from partage.domain import Device

HOST = "host"
CGROUP, CPUS = Path("/sys/fs/cgroup"), Path("/sys/devices/system/cpu")
DEFAULT_SHARE = 0.6
"""Of the RAM, for models; the rest is for the services, the page cache and other people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReading:
    total_bytes: int
    """RAM, or the cgroup's limit where that is less."""
    available_bytes: int
    """What could be taken now without swapping; page cache counts as available."""
    cores: int
    """Physical ones that this process may be scheduled on, less what a CPU quota takes away; at least 1."""


def read_host(cgroup: Path = CGROUP, cpus: Path = CPUS) -> HostReading:
    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    limit = _number(cgroup / "memory.max")
    if limit is not None and limit < total:
        used = (_number(cgroup / "memory.current") or 0) - _inactive_file_bytes(cgroup)
        total, available = limit, min(available, max(0, limit - used))
    return HostReading(total_bytes=total, available_bytes=available, cores=_cores(cgroup, cpus))


def host_device(
    reading: HostReading, *, memory_bytes: int | None = None, reserve_bytes: int | None = None, cores: int | None = None
) -> Device:
    """The host with its budget: what was configured, else DEFAULT_SHARE of the RAM."""
    total = min(reading.total_bytes, memory_bytes or int(reading.total_bytes * DEFAULT_SHARE))
    return Device(
        id=HOST,
        kind="host",
        name="host memory",
        total_bytes=total,
        reserve_bytes=reserve_bytes or 0,
        cores=cores or reading.cores,
        contended=True,
    )


def engine_threads(cores: int) -> int:
    """How many an engine has that is told nothing else: one for each core but one.

    llama.cpp's threads meet in every layer, and one that has no core for a moment, because a scan is read or a page is
    shown, halts all of them (docs/decisions/016-turns.md).
    """
    return max(1, cores - 1)


def _cores(cgroup: Path, cpus: Path) -> int:
    """Physical ones: two threads of a core share its arithmetic units, and llama.cpp keeps those busy with one."""
    ours = os.sched_getaffinity(0)
    cores = len({_siblings(cpus / f"cpu{cpu}") or str(cpu) for cpu in ours})
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def _siblings(cpu: Path) -> str:
    try:
        return (cpu / "topology/thread_siblings_list").read_text(encoding="ascii").strip()
    except OSError:
        return ""  # not Linux' usual tree: counted as a core of its own


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None  # no cgroup v2, or "max"


def _inactive_file_bytes(cgroup: Path) -> int:
    try:
        lines = (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process, mapped files included; None when it is gone."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return None
