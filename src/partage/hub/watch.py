"""Once a second: how much of each device others hold, and our engines, told to the policy when it changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from partage.device.attribution import Holdings
from partage.device.host import HOST, HostReading, read_host
from partage.hub.hub import Hub
from partage.hub.weighing import Weigher
from partage.policy.events import StrangersSeen
from partage.policy.views import DeviceView

log = logging.getLogger(__name__)

EVERY_S = 1.0
WORTH_TELLING_BYTES = 32 << 20


@asynccontextmanager
async def watch_devices(
    hub: Hub,
    weigher: Weigher,
    *,
    host: Callable[[], HostReading] = read_host,
    gpus: Callable[[], Sequence[Holdings]] = tuple[Holdings, ...],
) -> AsyncGenerator[None]:
    """Watch while inside. `gpus` gives the latest reading; it is taken elsewhere, for NVML blocks for milliseconds."""

    async def watch() -> None:
        while True:
            try:
                look(hub, weigher, host().available_bytes, gpus())
            except Exception:  # the edge: /proc cannot even be opened when the descriptors are used up
                log.exception("this second was not looked at")
            await asyncio.sleep(EVERY_S)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch(), name="watch devices")
        try:
            yield
        finally:
            watching.cancel()


def look(hub: Hub, weigher: Weigher, host_free_bytes: int, gpus: Sequence[Holdings]) -> None:
    """Set what every process really holds against the ledger, once."""
    weigher.weigh(hub, gpus)
    hub.leases.look(gpus)
    holdings = {one.device: one for one in gpus}
    for view in hub.scheduler.ledger_view():
        held = holdings.get(view.device)
        if view.device == HOST:
            tell(hub, view, _missing(view, host_free_bytes, hub.leases.unused_bytes(HOST)))
        elif held is not None:
            tell(hub, view, strangers_bytes(view, held, hub.leases.unused_bytes(view.device)))


def strangers_bytes(view: DeviceView, held: Holdings, unused_bytes: int = 0) -> int:
    """What others hold of what the ledger may promise; what was never promised (the reserve) they may have.

    Where the driver names the processes, what is not ours is theirs, also while an engine of ours is still loading and
    holds less than was set aside for it. Elsewhere (containers without the host's process ids, MPS, WSL): what is missing.
    """
    ours = held.ours_bytes
    if ours is None or (not ours and view.residents_bytes):  # a driver that lists none of our engines hides them
        return _missing(view, held.total_bytes - held.used_bytes, unused_bytes)
    return max(0, held.used_bytes - ours - (held.total_bytes - view.capacity_bytes))


def _missing(view: DeviceView, free_bytes: int, unused_bytes: int) -> int:
    """What the ledger thinks is free, but the device says is not.

    Holders of leases take theirs in their own time: what they have not taken yet is in what the device calls free.
    """
    held_bytes = view.residents_bytes + view.loading_bytes + view.leases_bytes - unused_bytes
    return max(0, view.capacity_bytes - held_bytes - free_bytes)


def tell(hub: Hub, view: DeviceView, strangers: int) -> None:
    if abs(strangers - view.strangers_bytes) >= WORTH_TELLING_BYTES:
        log.info("others hold %d MiB of what was promised on %s", strangers >> 20, view.device)
        hub.post(StrangersSeen(view.device, strangers))
