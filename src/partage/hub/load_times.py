"""What loading a model costs, by where its weights are: measured here once, remembered over restarts, guessed before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from partage.domain import Device, Placement
from partage.hub.kept import Kept

LOAD_TIMES = "loads.json"
"""The file under PARTAGE_HOME."""
LOAD_BYTES_PER_S = {"host": 1.5e9, "cuda": 4e9}
REPACK_BYTES_PER_S = 0.6e9
START_S = 0.4
DISK_BYTES_PER_S = 1e9
"""Before anything was measured here."""
CACHED_SHARE, DISK_SHARE = 0.9, 0.5
"""A load with more than the first in the page cache says what that costs; with less than the second, what the disk does."""
KEPT = 1000


class Measured(msgspec.Struct):
    """Seconds to load one model onto one kind of device; None: not seen yet."""

    cached_s: float | None = None
    disk_s: float | None = None


class _File(msgspec.Struct):
    disk_bytes_per_s: float = DISK_BYTES_PER_S
    models: dict[str, Measured] = {}
    """By "digest kind", the one that was loaded last at the end."""


class LoadTimes:
    def __init__(self, path: Path) -> None:
        self._file = Kept(path, _File, "loads")
        self._known = self._file.read() or _File()

    def expected_s(self, digest: str, kind: str, size: int, guess_s: float, cached_share: float | None) -> float:
        """`guess_s` is for weights in the page cache; `cached_share` None counts as all of it."""
        cached_s, disk_s = self._costs(self._known.models.get(f"{digest} {kind}", Measured()), size, guess_s)
        share = 1.0 if cached_share is None else cached_share
        return share * cached_s + (1.0 - share) * disk_s

    def measured(self, digest: str) -> dict[str, Measured]:
        """By kind of device, as far as it was loaded here."""
        return {
            kind: self._known.models[key]
            for kind in LOAD_BYTES_PER_S
            if (key := f"{digest} {kind}") in self._known.models
        }

    def learn(
        self, digest: str, kind: str, size: int, guess_s: float, cached_share: float | None, load_s: float
    ) -> None:
        """A load took so long with that part of the weights in the page cache when it began."""
        if cached_share is None:
            return
        key = f"{digest} {kind}"
        measured = self._known.models.pop(key, Measured())
        self._known.models[key] = measured
        if cached_share >= CACHED_SHARE:
            measured.cached_s = _mean(measured.cached_s, load_s)
        elif cached_share <= DISK_SHARE:
            cached_s, _ = self._costs(measured, size, guess_s)
            missing = 1.0 - cached_share
            measured.disk_s = _mean(measured.disk_s, max(load_s, (load_s - cached_share * cached_s) / missing))
            if load_s > cached_s:
                rate = size * missing / (load_s - cached_s)
                self._known.disk_bytes_per_s = _mean(self._known.disk_bytes_per_s, rate)
        self._keep()

    def _costs(self, measured: Measured, size: int, guess_s: float) -> tuple[float, float]:
        cached_s = guess_s if measured.cached_s is None else measured.cached_s
        disk_s = measured.disk_s
        if disk_s is None:
            disk_s = cached_s + size / self._known.disk_bytes_per_s
        return cached_s, max(cached_s, disk_s)

    def _keep(self) -> None:
        while len(self._known.models) > KEPT:
            del self._known.models[next(iter(self._known.models))]
        self._file.write(self._known)


def _mean(old: float | None, new: float) -> float:
    """Half of it the latest: a machine changes, and one load is easily disturbed."""
    return new if old is None else (old + new) / 2


def kind_of(placement: Placement, devices: Sequence[Device]) -> Literal["host", "cuda"]:
    on = {where for where, _ in placement.shares}
    return "host" if any(device.kind == "host" and device.id in on for device in devices) else "cuda"


def guess_s(placement: Placement, devices: Sequence[Device]) -> float:
    """From the page cache, before it was measured."""
    weights = sum(share.weights_bytes + share.projector_bytes for _, share in placement.shares)
    repacked = sum(share.repack_bytes for _, share in placement.shares)
    return START_S + weights / LOAD_BYTES_PER_S[kind_of(placement, devices)] + repacked / REPACK_BYTES_PER_S
