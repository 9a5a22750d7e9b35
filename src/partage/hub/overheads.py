"""What the driver takes for one process, per GPU: measured at the first engine, remembered over restarts.

A context, its kernels and cuBLAS's workspace are hundreds of MiB, which no log of the engine mentions, and depend on the GPU,
the driver and the engine's build. The most that was seen is kept; delete the file to learn anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from partage.domain import Device, DeviceId
from partage.hub.kept import Kept

log = logging.getLogger(__name__)

WORTH_LEARNING_BYTES = 16 << 20


class Overheads:
    def __init__(self, path: Path) -> None:
        self._file = Kept(path, dict[DeviceId, int], "the GPUs")
        self._known = self._file.read() or {}

    def applied(self, devices: Sequence[Device]) -> list[Device]:
        """The devices with what is known of them."""
        return [replace(device, overhead_bytes=self._known.get(device.id)) for device in devices]

    def learn(self, device: DeviceId, size: int) -> bool:
        """False where it is no news."""
        if size < self._known.get(device, 0) + WORTH_LEARNING_BYTES:
            return False
        log.info("the driver takes %d MiB for a process on %s", size >> 20, device)
        self._known[device] = size
        self._file.write(self._known)
        return True
