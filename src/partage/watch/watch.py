"""All that looks at the hub and its machine, made once and run beside it: what /metrics and /admin/alerts answer from."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from partage.clock import Clock, unix_s
from partage.config import Config
from partage.domain import Client, Device, EngineId
from partage.json_value import JsonObject
from partage.watch.alerts import Alerts
from partage.watch.container import Container, identities, identity
from partage.watch.docker import DockerWatch
from partage.watch.families import exposition
from partage.watch.gauges import Gauges, PolicyViews
from partage.watch.history import KEPT_S, History
from partage.watch.look import Looker
from partage.watch.metrics import Metrics
from partage.watch.notify import Notifier, targets_of
from partage.watch.readings import Machine, Names
from partage.watch.rules import rules_of
from partage.watch.sampler import Sample, Sampler
from partage.watch.timeline import Timeline
from partage.watch.traces import Traces

log = logging.getLogger(__name__)


class Watch:
    """`observers` go to the hub when it is made, `running()` runs beside it."""

    def __init__(self, config: Config, clock: Clock, version: str) -> None:
        """Raises ConfigError."""
        self._config = config
        self._clock = clock
        self._version = version
        self._known = {name: entry.client(name) for name, entry in config.clients.items()}
        self._by_container = {entry.container: name for name, entry in config.clients.items() if entry.container}
        self._engines: Callable[[], Mapping[int, EngineId]] = dict
        self._leases: Callable[[], Mapping[int, str]] = dict
        self._learn: Callable[[Mapping[str, Client]], None] = lambda _: None
        self.metrics = Metrics(self._known)
        self.timeline = Timeline()
        self._traces = (
            Traces(config.hub.traces, version, lambda: unix_s() - clock.now_s()) if config.hub.traces else None
        )
        self.observers: tuple[Metrics | Timeline | Traces, ...] = (self.metrics, self.timeline)
        if self._traces is not None:
            self.observers += (self._traces,)
        self.alerts = Alerts(rules_of(config.alerts), config.alerts, unix_s)
        self.docker = DockerWatch(config.hub.docker, clock, self._containers_changed)
        self.on_containers: Callable[[Iterable[Container]], None] = lambda _: None
        """Called when containers came, went, or changed."""
        self.history = History(config.home / "history.sqlite", unix_s)
        self._machine = Machine(config.home)
        self.sampler = Sampler(self._machine.read, self._names, clock)
        self._notifier = Notifier(targets_of(config.alerts.notify, config.alerts.webhook), clock.now_s)
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        self._gauges: Gauges | None = None
        self._looker: Looker | None = None

    @asynccontextmanager
    async def running(
        self,
        *,
        devices: Sequence[Device],
        policy: PolicyViews,
        engines: Callable[[], Mapping[int, EngineId]],
        leases: Callable[[], Mapping[int, str]] = dict,
        lost_leases: Callable[[], tuple[tuple[float, str], ...]] = tuple,
        learn_addresses: Callable[[Mapping[str, Client]], None],
    ) -> AsyncGenerator[None]:
        """Look while inside.

        `engines` and `leases` give process ids, `learn_addresses` takes who calls from where.
        """
        self._engines, self._leases, self._learn = engines, leases, learn_addresses
        self._gauges = Gauges(
            policy=policy,
            metrics=self.metrics,
            timeline=self.timeline,
            latest=lambda: self.sampler.latest,
            alerts=self.alerts.standing.values,
            clock=self._clock,
            version=self._version,
        )
        self._looker = Looker(devices, policy, self.metrics, self.timeline, lost_leases)
        self.alerts.history.extend(self.history.past_alerts())
        self.sampler.listeners = [self.history.take, self._look]
        self._notifier.start()
        if self._traces is not None:
            self._traces.start()
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self.history.running())
                await stack.enter_async_context(self.docker.running())
                await stack.enter_async_context(self.sampler.running())
                yield
        finally:
            self._notifier.stop()
            if self._traces is not None:
                self._traces.stop()
            self._machine.close()

    def metrics_text(self) -> bytes:
        """In Prometheus' text format."""
        families = self.metrics.families()
        if self._gauges is not None:
            self._gauges.refresh()
            families += self._gauges.families()
        return exposition(families) + generate_latest(self._process)

    def alerts_json(self) -> JsonObject:
        return {**self.alerts.to_json(), "unsent": self._notifier.unsent()}

    def machine_json(self) -> JsonObject:
        """The last reading, and the containers: what `top` and the dashboard show beside the hub's own status."""
        reading = self.sampler.latest
        load = reading.load
        return {
            "version": self._version,
            "gpu_error": reading.survey.error if not reading.survey.no_library else None,
            "driver_version": reading.survey.driver_version,
            "cuda_version": reading.survey.cuda_version,
            "host_pids": reading.host_pids,
            "host": _plain(load),
            "gpus": [
                {
                    **_plain(gpu, without=("processes",)),
                    "owners": [_plain(owner) for owner in reading.owners.get(gpu.uuid, ())],
                }
                for gpu in reading.survey.gpus
            ],
            "docker": self.docker.connected,
            "containers": [
                {
                    "name": one.name,
                    "image": one.image,
                    "running": one.running,
                    "health": one.health,
                    "memory_bytes": one.memory_bytes,
                    "memory_limit_bytes": one.memory_limit_bytes,
                    "cpu_cores": one.cpu_cores,
                    "restarts": one.restart_count,
                    "oom_killed": one.oom_killed_s is not None or one.oom_killed,
                    "labels": dict(one.labels),
                    "lease_bytes": one.lease_bytes,
                }
                for one in self.docker.containers.values()
            ],
        }

    def history_json(self, seconds: float) -> JsonObject:
        """Rows of the last so many seconds, a day at most. Blocks: it reads the file."""
        return {"rows": [_plain(row) for row in self.history.rows(unix_s() - min(seconds, KEPT_S))]}

    def client_of(self, container: Container) -> Client:
        return identity(container, self._known, self._by_container)

    def _names(self) -> Names:
        return Names(
            engines=self._engines(),
            leases=self._leases(),
            containers={one.id: one.name for one in self.docker.containers.values()},
        )

    def _look(self, sample: Sample) -> None:
        assert self._looker is not None
        changes = self.alerts.look(self._looker.picture(sample, [one.now() for one in self.docker.containers.values()]))
        for alert in changes:
            if alert.cleared_at is None:
                log.warning("alert %s: %s; %s", alert.rule, alert.message, alert.cure)
            else:
                log.info("alert %s is over (%s)", alert.rule, alert.subject)
            self._notifier.tell(alert)
        self.history.note(changes)

    def _containers_changed(self) -> None:
        clients = identities(self.docker.containers.values(), self._known, self._by_container)
        self.metrics.know_clients(client.name for client in clients.values())
        self._learn(clients)
        self.on_containers(self.docker.containers.values())


def _plain(one: Any, without: tuple[str, ...] = ()) -> JsonObject:  # noqa: ANN401 any of the frozen readings
    return {name: _json(getattr(one, name)) for name in one.__slots__ if name not in without}


def _json(value: object) -> Any:  # noqa: ANN401
    return list(value) if isinstance(value, tuple) else value
