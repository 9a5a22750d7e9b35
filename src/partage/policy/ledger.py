"""The memory ledger: what each device can promise, who holds what, and what is set aside for a model on its way.

free = budget - strangers - held by engines. Held counts from StartEngine until the engine is gone. `promised` is set aside
for a planned load, so that what its victims free is not taken by somebody smaller meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from partage.domain import Device, DeviceId, Placement

_LASTING_S = 30.0


@dataclass(slots=True)
class _Strangers:
    bytes_: int = 0
    lowest: int = 0
    """Of the last window, and of the one that is running."""
    lowest_now: int = 0
    window_at_s: float = 0.0


class Ledger:
    def __init__(self) -> None:
        self.devices: dict[DeviceId, Device] = {}
        self.strangers: dict[DeviceId, _Strangers] = {}
        self.held: dict[DeviceId, int] = {}
        self.closed: set[DeviceId] = set()
        """Somebody has them for himself: nothing there is free."""

    def free_bytes(self, device: DeviceId) -> int:
        """Negative where strangers took what had been given out already."""
        known = self.devices.get(device)
        if known is None:
            return 0
        free = known.budget_bytes - self.strangers_bytes(device) - self.held.get(device, 0)
        return min(0, free) if device in self.closed else free

    def strangers_bytes(self, device: DeviceId) -> int:
        known = self.strangers.get(device)
        return known.bytes_ if known else 0

    def lasting_strangers(self, device: DeviceId) -> int:
        """What they have not gone below for a while: a passing peak is no reason to say that a model can never fit."""
        known = self.strangers.get(device)
        return min(known.lowest, known.lowest_now) if known else 0

    def strangers_seen(self, device: DeviceId, bytes_: int, now_s: float) -> None:
        known = self.strangers.setdefault(device, _Strangers(window_at_s=now_s, lowest_now=bytes_))
        known.bytes_ = bytes_
        if now_s - known.window_at_s >= _LASTING_S:
            known.lowest, known.lowest_now, known.window_at_s = known.lowest_now, bytes_, now_s
        known.lowest_now = min(known.lowest_now, bytes_)

    def hold(self, shares: Iterable[tuple[DeviceId, int]]) -> None:
        for device, size in shares:
            self.held[device] = self.held.get(device, 0) + size

    def release(self, shares: Iterable[tuple[DeviceId, int]]) -> None:
        for device, size in shares:
            self.held[device] -= size

    def missing(self, placement: Placement) -> dict[DeviceId, int]:
        """What must be freed on each device before the placement can be paid for; empty: nothing."""
        short: dict[DeviceId, int] = {}
        for device, share in placement.shares:
            lacking = share.total_bytes - self.free_bytes(device)
            if lacking > 0:
                short[device] = lacking
        return short
