"""Once a second: how much of each device others hold, and our engines, told to the policy when it changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from partage.device.host import HOST, HostReading, read_host, resident_bytes
from partage.device.nvml import GpuReading, read_gpus
from partage.hub.hub import Hub
from partage.policy.events import EngineMeasured, StrangersSeen

log = logging.getLogger(__name__)

EVERY_S = 1.0
WORTH_TELLING_BYTES = 32 << 20
GROWN_BYTES = 4 << 20


@asynccontextmanager
async def watch_devices(
    hub: Hub,
    *,
    host: Callable[[], HostReading] = read_host,
    gpus: Callable[[], list[GpuReading]] = read_gpus,
) -> AsyncGenerator[None]:
    """Watch while inside. NVML blocks for milliseconds, so it is read in a thread."""
    has_gpu = any(device.kind == "cuda" for device in hub.devices)

    async def watch() -> None:
        while True:
            free = {HOST: host().available_bytes}
            if has_gpu:
                for reading in await asyncio.to_thread(gpus):
                    if reading.used_bytes is not None:
                        free[reading.uuid] = reading.total_bytes - reading.used_bytes
            tell(hub, free)
            weigh(hub)
            await asyncio.sleep(EVERY_S)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch(), name="watch devices")
        try:
            yield
        finally:
            watching.cancel()


def tell(hub: Hub, free_bytes: dict[str, int]) -> None:
    """Strangers hold what is missing: what the ledger thinks is free, but the device says is not."""
    for view in hub.scheduler.ledger_view():
        free = free_bytes.get(view.device)
        if free is None:
            continue
        promised = view.capacity_bytes - view.residents_bytes - view.loading_bytes
        strangers = max(0, promised - free)
        if abs(strangers - view.strangers_bytes) >= WORTH_TELLING_BYTES:
            log.info("others hold %d MiB of what was promised on %s", strangers >> 20, view.device)
            hub.post(StrangersSeen(view.device, strangers))


def weigh(hub: Hub, resident_bytes: Callable[[int], int | None] = resident_bytes) -> None:
    """Engines on the host that have grown beyond what the ledger holds for them: it holds more from now on."""
    for view in hub.scheduler.residents_view():
        held = dict(view.bytes_).get(HOST)
        running = hub.residents.running.get(view.engine)
        if held is None or running is None or running.loaded is None or running.loaded.pid is None:
            continue
        size = resident_bytes(running.loaded.pid)
        if size is not None and size > held + GROWN_BYTES:
            log.info(
                "%s has grown to %d MiB, %d more than was held for it", view.engine, size >> 20, (size - held) >> 20
            )
            hub.post(EngineMeasured(engine=view.engine, measured_bytes=((HOST, size),)))
