"""What each of our engines really holds, by process, set against what the ledger holds for it; the policy is told.

On a GPU the driver's figure for the process replaces the estimate as soon as there is one, and teaches what the driver itself
takes for a process there; from then on, and on the host, only growth is told: a peak comes again. What an adopted server
says of its models is taken as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from partage.device.attribution import Holdings
from partage.device.host import HOST, resident_bytes
from partage.domain import DeviceId, EngineId
from partage.engine.adopted import Adopted
from partage.hub.hub import Hub
from partage.hub.residents import Resident
from partage.policy.events import EngineMeasured
from partage.policy.views import ResidentView

log = logging.getLogger(__name__)

GROWN_BYTES = 4 << 20

LearnOverhead = Callable[[DeviceId, int], None]


class Weigher:
    def __init__(
        self,
        learn_overhead: LearnOverhead = lambda _device, _size: None,
        resident_bytes: Callable[[int], int | None] = resident_bytes,
    ) -> None:
        self._learn_overhead = learn_overhead
        self._resident_bytes = resident_bytes
        self._weighed: set[tuple[EngineId, DeviceId]] = set()
        """Those that the driver has given a figure for."""

    def weigh(self, hub: Hub, gpus: Sequence[Holdings]) -> None:
        running = hub.residents.running
        self._weighed = {(engine, device) for engine, device in self._weighed if engine in running}
        for view in hub.scheduler.residents_view():
            resident = running.get(view.engine)
            if resident is None or resident.loaded is None or view.phase != "ready":
                continue
            news = [*self._on_host(view, resident), *self._on_gpus(view, resident, gpus), *_elsewhere(view, resident)]
            if news:
                hub.post(EngineMeasured(engine=view.engine, measured_bytes=tuple(news)))

    def _on_host(self, view: ResidentView, resident: Resident) -> Iterable[tuple[DeviceId, int]]:
        held = dict(view.bytes_).get(HOST)
        pid = resident.loaded.pid if resident.loaded is not None else None
        size = None if held is None or pid is None else self._resident_bytes(pid)
        if size is not None and held is not None and size > held + GROWN_BYTES:
            _log_growth(view, size, held)
            yield HOST, size

    def _on_gpus(
        self, view: ResidentView, resident: Resident, gpus: Sequence[Holdings]
    ) -> Iterable[tuple[DeviceId, int]]:
        held = dict(view.bytes_)
        for gpu in gpus:
            size = gpu.of_engine(view.engine)
            if size is None or gpu.device not in held:
                continue
            first = (view.engine, gpu.device) not in self._weighed
            self._weighed.add((view.engine, gpu.device))
            if not first and size <= held[gpu.device] + GROWN_BYTES:
                continue
            if not first:
                _log_growth(view, size, held[gpu.device])
            self._learn(gpu.device, size, resident)
            yield gpu.device, size

    def _learn(self, device: DeviceId, size: int, resident: Resident) -> None:
        buffers = dict(resident.loaded.measured_bytes).get(device) if resident.loaded is not None else None
        # A projector's weights and scratch are in no log: they would be taken for the driver's part of every model.
        if buffers and size > buffers and resident.model.projector_path is None:
            self._learn_overhead(device, size - buffers)


def _elsewhere(view: ResidentView, resident: Resident) -> Iterable[tuple[DeviceId, int]]:
    """What its server says of an adopted model: it may grow and shrink; counted against a device where one is named."""
    engine, loaded = resident.engine, resident.loaded
    if not isinstance(engine, Adopted) or loaded is None:
        return
    if (device := engine.spec.device) and engine.held.size_bytes:
        if dict(view.bytes_).get(device) != engine.held.whole:
            yield device, engine.held.whole
    elif not device:
        size, on_gpus = engine.held.size_bytes, engine.held.device_bytes
        resident.loaded = replace(loaded, elsewhere_bytes=size, elsewhere_device_bytes=on_gpus)


def _log_growth(view: ResidentView, size: int, held: int) -> None:
    log.info("%s has grown to %d MiB, %d more than was held for it", view.engine, size >> 20, (size - held) >> 20)
