"""What the driver takes for one process, per GPU: measured at the first engine, remembered over restarts.

A context, its kernels and cuBLAS's workspace are hundreds of MiB, which no log of the engine mentions, and depend on the GPU,
the driver and the engine's build. The most that was seen is kept; delete the file to learn anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from partage.domain import Device, DeviceId

log = logging.getLogger(__name__)

WORTH_LEARNING_BYTES = 16 << 20


class Overheads:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[DeviceId, int] = {}
        try:
            self._known = msgspec.json.decode(path.read_bytes(), type=dict[DeviceId, int])
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("what was learned of the GPUs cannot be read and is learned anew: %s", error)

    def applied(self, devices: Sequence[Device]) -> list[Device]:
        """The devices with what is known of them."""
        return [replace(device, overhead_bytes=self._known.get(device.id)) for device in devices]

    def learn(self, device: DeviceId, size: int) -> bool:
        """False where it is no news."""
        if size < self._known.get(device, 0) + WORTH_LEARNING_BYTES:
            return False
        log.info("the driver takes %d MiB for a process on %s", size >> 20, device)
        self._known[device] = size
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(self._known))
            new.replace(self._path)
        except OSError as error:
            log.warning("what was learned of the GPUs is not kept: %s", error)
        return True
