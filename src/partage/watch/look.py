"""Draws the picture the alert rules look at, from everything that is known at this moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from partage.domain import Device
from partage.policy.views import DeviceView, LeaseView, ResidentView
from partage.watch.gauges import LOADING_WINDOW_S
from partage.watch.metrics import Metrics
from partage.watch.picture import ContainerNow, DeviceNow, EngineTrouble, LeaseNow, ModelNow, Picture
from partage.watch.readings import Reading
from partage.watch.sampler import Sample
from partage.watch.timeline import Timeline

WINDOW_S = 600.0
MOST_XIDS = 50


class PolicyViews(Protocol):
    def ledger_view(self) -> tuple[DeviceView, ...]: ...

    def residents_view(self) -> tuple[ResidentView, ...]: ...

    def leases_view(self) -> tuple[LeaseView, ...]: ...

    def pause_bound_s(self) -> float: ...


class Looker:
    """Remembers only what a single reading cannot say: which GPUs have been seen, and which errors there were."""

    def __init__(
        self,
        devices: Sequence[Device],
        policy: PolicyViews,
        metrics: Metrics,
        timeline: Timeline,
        lost_leases: Callable[[], tuple[tuple[float, str], ...]] = tuple,
    ) -> None:
        self._lost_leases = lost_leases
        self._devices = tuple(devices)
        self._policy = policy
        self._metrics = metrics
        self._timeline = timeline
        self._names = {device.id: device.name for device in devices if device.kind == "cuda"}
        """GPUs that were there once."""
        self._xids: deque[tuple[float, str, int]] = deque(maxlen=MOST_XIDS)

    def picture(self, sample: Sample, containers: Iterable[ContainerNow] = ()) -> Picture:
        now_s, reading = sample.at_s, sample.reading
        placed = {device.id for device in self._devices}
        self._names |= {gpu.uuid: gpu.name for gpu in reading.survey.gpus}
        self._xids.extend((now_s, device, xid) for device, xid in reading.survey.xids)
        return Picture(
            now_s=now_s,
            devices=self._device_states(reading),
            gpu_error=None if reading.survey.no_library else reading.survey.error,
            gpus_unused=tuple(
                gpu.name
                for gpu in reading.survey.gpus
                if gpu.uuid not in placed and not any(device.kind == "cuda" for device in self._devices)
            ),
            xids=tuple(self._xids),
            models=self._models(),
            troubles=tuple(
                EngineTrouble(at_s=span.ended_s or now_s, model=span.model, kind=span.end, detail=span.detail)
                for span in self._timeline.troubles(now_s - WINDOW_S)
                if span.end in ("crashed", "failed", "out_of_memory")
            ),
            did_not_fit=self._timeline.did_not_fit(now_s - WINDOW_S / 2),
            overdue=self._metrics.overdue(now_s),
            deadlines=self._deadlines(now_s),
            loading_share=self._timeline.loading_share(now_s, LOADING_WINDOW_S),
            disk_free_bytes=reading.load.disk_free_bytes,
            disk_total_bytes=reading.load.disk_total_bytes,
            containers=tuple(containers),
            leases=self._leases(now_s),
            lost_leases=self._lost_leases(),
            paused_s=self._metrics.paused_s(now_s),
            pause_bound_s=self._policy.pause_bound_s(),
        )

    def _device_states(self, reading: Reading) -> tuple[DeviceNow, ...]:
        ledger = {view.device: view.residents_bytes + view.loading_bytes for view in self._policy.ledger_view()}
        gpus = {gpu.uuid: gpu for gpu in reading.survey.gpus}
        states = [
            DeviceNow(
                id=uuid,
                name=name,
                kind="cuda",
                total_bytes=gpus[uuid].total_bytes if uuid in gpus else 1,
                used_bytes=gpus[uuid].used_bytes if uuid in gpus else None,
                ledger_bytes=ledger.get(uuid, 0),
                engines_bytes=reading.engine_bytes.get(uuid),
                lost=uuid not in gpus,
            )
            for uuid, name in self._names.items()
        ]
        load = reading.load
        if load.total_bytes is not None and load.available_bytes is not None:
            states.append(
                DeviceNow(
                    id="host",
                    name="host memory",
                    kind="host",
                    total_bytes=load.total_bytes,
                    used_bytes=load.total_bytes - load.available_bytes,
                    ledger_bytes=ledger.get("host", 0),
                    engines_bytes=reading.engine_bytes.get("host") if not self._names else None,
                )
            )
        return tuple(states)

    def _leases(self, now_s: float) -> tuple[LeaseNow, ...]:
        return tuple(
            LeaseNow(
                id=view.lease,
                leased_bytes=view.leased_bytes,
                counted_bytes=view.bytes_,
                waited_s=now_s - view.since_s if view.engine is None else None,
                position=view.position,
            )
            for view in self._policy.leases_view()
        )

    def _models(self) -> tuple[ModelNow, ...]:
        """Where there is a GPU: how much of each model is on it."""
        gpus = {device.id for device in self._devices if device.kind == "cuda"}
        if not gpus:
            return ()
        found: list[ModelNow] = []
        for view in self._policy.residents_view():
            where = {device for device, _ in view.placement.shares}
            if where:  # an adopted server's model is not ours to place
                how = "not" if not where & gpus else "partly" if where - gpus else "whole"
                found.append(ModelNow(model=view.model, on_gpu=how))
        return tuple(found)

    def _deadlines(self, now_s: float) -> Mapping[str, tuple[int, int]]:
        counts: dict[str, tuple[int, int]] = {}
        for at_s, client, missed in self._metrics.recent_deadlines:
            if now_s - at_s <= WINDOW_S:
                before, count = counts.get(client, (0, 0))
                counts[client] = (before + missed, count + 1)
        return counts
