"""Who holds a GPU's memory: an engine of ours, a lease, a container, or a stranger.

Checked in this order, for each process the driver shows:
1. it, or a process above it, is an engine of ours, or the hub, whose child is an engine that still loads;
2. the same for a lease;
3. its cgroup is a container's: named as Docker names it, by its id where Docker is not to be asked;
4. it is somebody's program on the host;
5. it is not in our /proc: we run in a container of our own, without the host's pid namespace. What has the same number
   there is another process, unless it holds a GPU itself: then the driver has translated the ids for us.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from partage.device.nvml import GpuProcess
from partage.device.processes import Processes
from partage.domain import DeviceId, EngineId

OwnerKind: TypeAlias = Literal["engine", "lease", "container", "stranger", "unseen"]
LOADING = "loading"
"""The name of an engine that is not ready yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    kind: OwnerKind
    name: str
    """Engine, lease, container; of a stranger "user: command"."""
    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """A GPU's memory at one moment, and whose it is."""

    device: DeviceId
    total_bytes: int
    used_bytes: int
    owners: tuple[Owner, ...] | None
    """None: the driver does not say here."""

    @property
    def ours_bytes(self) -> int | None:
        """Of engines and leases; None where some of it may be theirs without our seeing it."""
        if self.owners is None or any(one.kind == "unseen" or one.used_bytes is None for one in self.owners):
            return None
        return sum(one.used_bytes or 0 for one in self.owners if one.kind in {"engine", "lease"})

    def of_engine(self, engine: EngineId) -> int | None:
        """All of its processes; None where that cannot be said."""
        return self._of("engine", engine)

    def of_lease(self, lease: str) -> int | None:
        """The same of a lease's holder."""
        return self._of("lease", lease)

    def _of(self, kind: OwnerKind, name: str) -> int | None:
        if self.ours_bytes is None:
            return None
        held = [one.used_bytes or 0 for one in self.owners or () if one.kind == kind and one.name == name]
        return sum(held) if held else None


def attribute(
    processes: Iterable[GpuProcess],
    proc: Processes,
    *,
    engines: Mapping[int, str],
    leases: Mapping[int, str],
    containers: Mapping[str, str],
    hub_pid: int | None = None,
) -> tuple[Owner, ...]:
    """`engines` and `leases` are by process id, `containers` names by container id. `hub_pid`: this process."""
    hub = os.getpid() if hub_pid is None else hub_pid
    found: list[Owner] = []
    for one in processes:
        kind, name = _who(one.pid, proc, engines, leases, containers, hub)
        found.append(Owner(kind=kind, name=name, pid=one.pid, used_bytes=one.used_bytes))
    return tuple(found)


def _who(
    pid: int,
    proc: Processes,
    engines: Mapping[int, str],
    leases: Mapping[int, str],
    containers: Mapping[str, str],
    hub_pid: int,
) -> tuple[OwnerKind, str]:
    facts = proc.facts(pid) if pid > 0 else None
    if facts is None or (proc.sees_host_pids() is False and not proc.holds_gpu(pid)):
        # 5. A number that means another process here would be worse than no name.
        return "unseen", "a process outside this container's view"
    line = list(proc.lineage(pid))
    for above in line:
        if above in engines:  # 1.
            return "engine", engines[above]
    if hub_pid in line[1:]:
        return "engine", LOADING
    for above in line:
        if above in leases:  # 2.
            return "lease", leases[above]
    if facts.container is not None:  # 3.
        return "container", containers.get(facts.container, facts.container[:12])
    return "stranger", f"{facts.user}: {facts.command}"  # 4.
