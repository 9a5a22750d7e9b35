"""What Docker says of a container, and which client of the hub it is: by its labels, or by its name."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from partage.config_sections import CLASSES
from partage.domain import Client
from partage.errors import InvalidRequest
from partage.quantities import parse_bytes
from partage.watch.picture import ContainerNow

log = logging.getLogger(__name__)

PREFIX = "partage."


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    id: str
    name: str
    image: str = ""
    running: bool = True
    health: str = ""
    """starting, healthy, unhealthy; empty without a check."""
    pid: int = 0
    """Of its first process, as the machine numbers it; 0: it does not run."""
    gpu: str | None = None
    """The only GPU that it was given, by index or UUID."""
    addresses: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    """Those that begin with "partage.", without it."""
    restart_count: int = 0
    oom_killed: bool = False
    memory_limit_bytes: int | None = None
    memory_bytes: int | None = None
    cpu_cores: float | None = None
    """Cores it kept busy lately."""
    oom_killed_s: float | None = None
    restarts_s: tuple[float, ...] = ()
    """When it was killed for memory, and restarted, as far as we watched; on the hub's clock."""

    @property
    def lease_bytes(self) -> int | None:
        """What `partage.lease` asks for; None without one, or for one that is no size."""
        text = dict(self.labels).get("lease")
        try:
            return None if text is None else parse_bytes(text)
        except InvalidRequest:
            return None

    @property
    def device(self) -> str | None:
        """Where its lease must be: `partage.device` says, or the only GPU that it sees."""
        return dict(self.labels).get("device") or self.gpu

    def now(self) -> ContainerNow:
        return ContainerNow(
            name=self.name,
            running=self.running,
            oom_killed_s=self.oom_killed_s,
            restarts=self.restarts_s,
            unhealthy=self.running and self.health == "unhealthy",
        )


def container_from(inspected: Mapping[str, Any]) -> Container:
    """Of GET /containers/ID/json; what an older or another engine leaves out is empty."""
    state: Mapping[str, Any] = inspected.get("State") or {}
    config: Mapping[str, Any] = inspected.get("Config") or {}
    networks: Mapping[str, Any] = (inspected.get("NetworkSettings") or {}).get("Networks") or {}
    addresses = (
        str(address) for one in networks.values() for address in (one.get("IPAddress"), one.get("GlobalIPv6Address"))
    )
    return Container(
        id=str(inspected.get("Id", "")),
        name=str(inspected.get("Name", "")).lstrip("/"),
        image=str(config.get("Image", "")),
        running=bool(state.get("Running")),
        health=str((state.get("Health") or {}).get("Status", "")),
        pid=int(state.get("Pid") or 0),
        gpu=_only_gpu((inspected.get("HostConfig") or {}).get("DeviceRequests") or ()),
        addresses=tuple(address for address in addresses if address and address != "None"),
        labels=tuple(
            (key.removeprefix(PREFIX), str(value))
            for key, value in sorted((config.get("Labels") or {}).items())
            if key.startswith(PREFIX)
        ),
        restart_count=int(inspected.get("RestartCount") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        memory_limit_bytes=int((inspected.get("HostConfig") or {}).get("Memory") or 0) or None,
    )


def _only_gpu(requests: Sequence[Mapping[str, Any]]) -> str | None:
    wanted = [str(id_) for request in requests for id_ in request.get("DeviceIDs") or ()]
    return wanted[0] if len(wanted) == 1 else None


def succeeded(before: Container | None, after: Container, now_s: float) -> Container:
    """The container as inspected again: what happened in between is dated, what was measured is kept."""
    if before is None:
        return after
    restarted = max(0, after.restart_count - before.restart_count)
    killed = after.oom_killed and (not before.oom_killed or restarted > 0)
    return replace(
        after,
        memory_bytes=before.memory_bytes if after.running else None,
        cpu_cores=before.cpu_cores if after.running else None,
        oom_killed_s=now_s if killed else before.oom_killed_s,
        restarts_s=(*before.restarts_s, *[now_s] * restarted)[-20:],
    )


def measured(container: Container, stats: Mapping[str, Any]) -> Container:
    """With memory and processor of GET /containers/ID/stats, which carries its own sample before."""
    memory: Mapping[str, Any] = stats.get("memory_stats") or {}
    usage = memory.get("usage")
    files = (
        (memory.get("stats") or {}).get("inactive_file") or (memory.get("stats") or {}).get("total_inactive_file") or 0
    )
    return replace(
        container,
        memory_bytes=None if usage is None else max(0, int(usage) - int(files)),  # as `docker stats` reckons
        cpu_cores=_cores(stats.get("cpu_stats") or {}, stats.get("precpu_stats") or {}),
    )


def _cores(now: Mapping[str, Any], before: Mapping[str, Any]) -> float | None:
    try:
        busy = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
        passed = now["system_cpu_usage"] - before["system_cpu_usage"]
        return busy / passed * now["online_cpus"] if passed > 0 else None
    except (KeyError, TypeError):
        return None


def identities(
    containers: Iterable[Container], known: Mapping[str, Client], by_name: Mapping[str, str]
) -> dict[str, Client]:
    """Address -> client. `known` are the configured clients, `by_name` the containers they are configured for.

    A label says more than the configuration: `partage.client`, `partage.class`, `partage.weight`.
    """
    found: dict[str, Client] = {}
    for container in containers:
        labels = dict(container.labels)
        if "client" in labels or container.name in by_name or {"class", "weight"} & labels.keys():
            found.update(dict.fromkeys(container.addresses, identity(container, known, by_name)))
    return found


def identity(container: Container, known: Mapping[str, Client], by_name: Mapping[str, str]) -> Client:
    labels = dict(container.labels)
    name = labels.get("client") or by_name.get(container.name) or container.name
    return _labelled(known.get(name) or Client(name=name), labels, container.name)


def _labelled(client: Client, labels: Mapping[str, str], container: str) -> Client:
    class_ = CLASSES.get(labels.get("class", ""))
    try:
        weight = float(labels["weight"]) if "weight" in labels else client.weight
    except ValueError:
        weight = -1.0
    if ("class" in labels and class_ is None) or not 0 < weight < float("inf"):
        log.warning(
            "container %s: partage.class is interactive, normal or batch, partage.weight a number above 0; not %s, %s",
            container,
            labels.get("class"),
            labels.get("weight"),
        )
        return client
    return replace(client, class_=client.class_ if class_ is None else class_, weight=weight)
