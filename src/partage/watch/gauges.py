"""The families of /metrics that show how things stand: made anew at each scrape (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from partage.clock import Clock
from partage.device.nvml import GpuReading
from partage.policy.views import ClientView, DeviceView, LeaseView, ResidentView, TierView
from partage.watch.alerts import Alert
from partage.watch.families import Family, Labels
from partage.watch.metrics import Metrics
from partage.watch.readings import Reading
from partage.watch.timeline import Timeline

LOADING_WINDOW_S = 600.0
CLASSES = ("interactive", "normal", "batch")


class PolicyViews(Protocol):
    """What policy/scheduler.py lets others see."""

    def ledger_view(self) -> tuple[DeviceView, ...]: ...

    def residents_view(self) -> tuple[ResidentView, ...]: ...

    def leases_view(self) -> tuple[LeaseView, ...]: ...

    def clients_view(self) -> tuple[ClientView, ...]: ...

    def tier_view(self) -> TierView: ...

    def wait_bound_s(self) -> tuple[float, float, float]: ...

    def pause_bound_s(self) -> float: ...

    def aside_bound_s(self) -> float: ...


class Gauges:
    def __init__(
        self,
        *,
        policy: PolicyViews,
        metrics: Metrics,
        timeline: Timeline,
        latest: Callable[[], Reading],
        alerts: Callable[[], Iterable[Alert]],
        clock: Clock,
        version: str,
    ) -> None:
        self._policy = policy
        self._metrics = metrics
        self._timeline = timeline
        self._latest = latest
        self._alerts = alerts
        self._clock = clock
        self._version = version
        self.build = _gauge("partage_build_info", "Always 1; the version is the label.", "version")
        self.queue_depth = _gauge("partage_queue_depth", "Requests that wait for a slot.", "class", "model")
        self.wait_bound = _gauge(
            "partage_wait_bound_seconds",
            "No request waits longer than this: it is served, or refused, before.",
            "class",
        )
        self.pause_bound = _gauge(
            "partage_pause_bound_seconds", "No engine that serves somebody is paused for longer, as things are now."
        )
        self.aside_bound = _gauge(
            "partage_aside_bound_seconds",
            "No answer of a client who floods is silent in RAM for longer: it goes on, or ends.",
        )
        self.loading = _gauge(
            "partage_loading_ratio", "Part of the last 10 minutes in which something was being loaded."
        )
        self.slots = _gauge("partage_engine_slots", "Slots of the model's engines.", "model")
        self.serving = _gauge("partage_engine_slots_busy", "Of them, those that serve a request.", "model")
        self.ledger = _gauge(
            "partage_engine_ledger_bytes",
            "What the ledger holds for the model: measured where its engine said so, else estimated.",
            "model",
            "device",
        )
        self.estimated = _gauge(
            "partage_engine_estimated_bytes", "What the model was thought to need.", "model", "device"
        )
        self.gpu_seconds = Family(
            name="partage_client_gpu_seconds_total",
            help="Time on the device the client received, as fair shares are reckoned.",
            labels=("client",),
        )
        self.device_ledger = _gauge(
            "partage_device_ledger_bytes",
            "The ledger by part: budget, residents, leases, loading, strangers, free.",
            "device",
            "part",
        )
        self.device_engines = _gauge(
            "partage_device_engines_bytes",
            "What our engines' processes hold, as the driver and the kernel count.",
            "device",
        )
        self.parked = _gauge("partage_parked_bytes", "The RAM that parked engines may take: budget, held.", "part")
        self.drift = _gauge(
            "partage_device_drift_bytes",
            "What our engines' processes hold beyond what the ledger holds for them; below 0: less.",
            "device",
        )
        self.device_total = _gauge("partage_device_memory_total_bytes", "Size of the device's memory.", "device")
        self.device_used = _gauge("partage_device_memory_used_bytes", "Of it in use, by whomever.", "device")
        self.utilisation = _gauge("partage_device_utilisation_ratio", "Part of the last period it computed.", "device")
        self.temperature = _gauge("partage_device_temperature_celsius", "Temperature of the GPU.", "device")
        self.power = _gauge("partage_device_power_watts", "Power drawn.", "device")
        self.power_limit = _gauge("partage_device_power_limit_watts", "Power it may draw.", "device")
        self.clock_hz = _gauge("partage_device_sm_clock_hertz", "Clock of the streaming multiprocessors.", "device")
        self.throttled = _gauge(
            "partage_device_throttled", "1: slower than it could be, for this reason.", "device", "reason"
        )
        self.ecc = _gauge("partage_device_ecc_uncorrected_errors", "Since the driver was loaded.", "device")
        self.cached = _gauge("partage_host_page_cache_bytes", "Page cache: files that need not be read again.")
        self.swap = _gauge("partage_host_swap_used_bytes", "Swap in use.")
        self.disk_free = _gauge("partage_disk_free_bytes", "Free on the file system of the models.")
        self.disk_total = _gauge("partage_disk_total_bytes", "Size of the file system of the models.")
        self.leases = _gauge("partage_leases", "Leases, by state: waiting, held, paused.", "class", "state")
        self.stands_still = _gauge(
            "partage_paused",
            "Engines and holders of leases that stand still now, by why: turn (others compute), hand.",
            "why",
        )
        self.alerts = _gauge("partage_alerts", "Alerts that stand, by rule.", "rule")

    def families(self) -> list[Family]:
        return [value for value in vars(self).values() if isinstance(value, Family)]

    def refresh(self) -> None:
        """Read everything as it is now. On the event loop: the policy's views are its own."""
        self.build.show({(self._version,): 1})
        self._show_policy()
        reading = self._latest()
        self._show_devices(reading)
        self._show_host(reading)
        standing: dict[Labels, float | None] = {}
        for alert in self._alerts():
            standing[alert.rule,] = (standing.get((alert.rule,)) or 0) + 1
        self.alerts.show(standing)

    def _show_policy(self) -> None:
        label = self._metrics.model_label
        self.queue_depth.show(dict(self._metrics.waiting()))
        self.wait_bound.show({(name,): bound for name, bound in zip(CLASSES, self._policy.wait_bound_s(), strict=True)})
        self.pause_bound.show({(): self._policy.pause_bound_s()})
        self.aside_bound.show({(): self._policy.aside_bound_s()})
        self.loading.show({(): self._timeline.loading_share(self._clock.now_s(), LOADING_WINDOW_S)})
        sums: tuple[dict[Labels, float | None], ...] = ({}, {}, {}, {})
        slots, serving, ledger, estimated = sums
        for view in self._policy.residents_view():
            model = label(view.model)
            _plus(slots, (model,), view.slots)
            _plus(serving, (model,), view.serving)
            for device, size in view.bytes_:
                _plus(ledger, (model, device), size)
            for device, footprint in view.placement.shares:
                _plus(estimated, (model, device), footprint.total_bytes)
        for family, values in zip((self.slots, self.serving, self.ledger, self.estimated), sums, strict=True):
            family.show(values)
        leases: dict[Labels, float | None] = {}
        for lease in self._policy.leases_view():
            _plus(leases, (lease.class_.name.lower(), _state(lease)), 1)
        self.leases.show(leases)
        views = (*self._policy.residents_view(), *self._policy.leases_view())
        by_hand = sum(view.paused and view.halted for view in views)
        self.stands_still.show({("hand",): by_hand, ("turn",): sum(view.paused for view in views) - by_hand})
        received: dict[str, float] = {}
        for client in self._policy.clients_view():
            name = self._metrics.client_label(client.name)
            received[name] = received.get(name, 0.0) + client.served_s
        for name, served_s in received.items():
            # Charged ahead and corrected downwards afterwards; a counter must not fall.
            self.gpu_seconds.reach(name, value=served_s)
        self.device_ledger.show(
            {
                (view.device, part): size
                for view in self._policy.ledger_view()
                for part, size in (
                    ("budget", view.capacity_bytes),
                    ("residents", view.residents_bytes),
                    ("leases", view.leases_bytes),
                    ("loading", view.loading_bytes),
                    ("strangers", view.strangers_bytes),
                    ("free", view.free_bytes),
                )
            }
        )

        tier = self._policy.tier_view()
        self.parked.show({("budget",): tier.budget_bytes, ("held",): tier.held_bytes})

    def _show_devices(self, reading: Reading) -> None:
        gpus, load = reading.survey.gpus, reading.load
        used = (
            None
            if load.total_bytes is None or load.available_bytes is None
            else load.total_bytes - load.available_bytes
        )
        self.device_engines.show({(device,): size for device, size in reading.engine_bytes.items()})
        self.drift.show(
            {
                (view.device,): reading.engine_bytes[view.device] - view.residents_bytes - view.loading_bytes
                for view in self._policy.ledger_view()
                if view.device in reading.engine_bytes
            }
        )
        self.device_total.show({("host",): load.total_bytes, **_each(gpus, lambda gpu: gpu.total_bytes)})
        self.device_used.show({("host",): used, **_each(gpus, lambda gpu: gpu.used_bytes)})
        self.utilisation.show(
            {("host",): _part(load.cpu_percent), **_each(gpus, lambda gpu: _part(gpu.utilisation_percent))}
        )
        self.temperature.show(_each(gpus, lambda gpu: gpu.temperature_c))
        self.power.show(_each(gpus, lambda gpu: gpu.power_w))
        self.power_limit.show(_each(gpus, lambda gpu: gpu.power_limit_w))
        self.clock_hz.show(_each(gpus, lambda gpu: None if gpu.sm_clock_mhz is None else gpu.sm_clock_mhz * 1e6))
        self.ecc.show(_each(gpus, lambda gpu: gpu.ecc_uncorrected))
        self.throttled.show({(gpu.uuid, reason): 1 for gpu in gpus for reason in gpu.throttles or ()})

    def _show_host(self, reading: Reading) -> None:
        load = reading.load
        self.cached.show({(): load.cached_bytes})
        self.swap.show({(): load.swap_used_bytes})
        self.disk_free.show({(): load.disk_free_bytes})
        self.disk_total.show({(): load.disk_total_bytes})


def _state(lease: LeaseView) -> str:
    return "waiting" if lease.engine is None else "paused" if lease.paused else "held"


def _gauge(name: str, help_: str, *labels: str) -> Family:
    return Family(name=name, help=help_, labels=labels, kind="gauge")


def _each(gpus: Iterable[GpuReading], read: Callable[[GpuReading], float | None]) -> dict[Labels, float | None]:
    return {(gpu.uuid,): read(gpu) for gpu in gpus}


def _part(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _plus(values: dict[Labels, float | None], labels: Labels, more: float) -> None:
    values[labels] = (values.get(labels) or 0) + more
