"""What engines were measured to hold, in place of the estimate, for the same model, settings and device; over restarts too."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from partage.domain import Client, DeviceId, EngineId, Footprint, LaunchSettings, Model, Placement
from partage.errors import PartageError
from partage.hub.kept import Kept
from partage.policy.actions import Action, StartEngine
from partage.policy.events import EngineFailed, EngineGone, EngineMeasured, EngineReady, Event

FOOTPRINTS = "footprints.json"
"""The file under PARTAGE_HOME."""
KEPT = 1000
WORTH_KEEPING = 0.001


@dataclass(frozen=True, slots=True)
class _Started:
    model: str
    digest: str
    placement: Placement


class Footprints:
    """Satisfies ports.Observer."""

    def __init__(self, path: Path, digest_of: Callable[[str], str], on_news: Callable[[str], None]) -> None:
        """`digest_of` a model by its name, raising PartageError; `on_news`: more is known of that model."""
        self._file = Kept(path, dict[str, int], "memory")
        self._digest_of = digest_of
        self._on_news = on_news
        self._started: dict[EngineId, _Started] = {}
        self._known = self._file.read() or {}
        """Bytes by model, settings and device; what was learned last at the end."""

    def corrected(self, model: Model, placement: Placement) -> Placement:
        """With the measured totals, as far as there are any."""
        shares = tuple(
            (device, _with_total(share, self._known.get(_key(model.digest, placement.settings, device))))
            for device, share in placement.shares
        )
        return replace(placement, shares=shares)

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        match event:
            case (
                EngineReady(engine=engine, measured_bytes=measured)
                | EngineMeasured(engine=engine, measured_bytes=measured)
            ):
                self._learn(engine, measured)
            case EngineFailed(engine=engine) | EngineGone(engine=engine):
                self._started.pop(engine, None)
            case _:
                pass
        for action in actions:
            if isinstance(action, StartEngine):
                self._begin(action)

    def refused(self, client: Client, model: str, error: PartageError) -> None:
        pass

    def _begin(self, order: StartEngine) -> None:
        try:
            digest = self._digest_of(order.model)
        except PartageError:
            return  # deleted meanwhile
        self._started[order.engine] = _Started(order.model, digest, order.placement)

    def _learn(self, engine: EngineId, measured: Sequence[tuple[DeviceId, int]]) -> None:
        started = self._started.get(engine)
        if started is None or not started.digest:
            return
        news = False
        for device, size in measured:
            key = _key(started.digest, started.placement.settings, device)
            before = self._known.pop(key, started.placement.bytes_on(device))
            self._known[key] = size
            news |= abs(size - before) > WORTH_KEEPING * size
        if news:
            self._known = dict(list(self._known.items())[-KEPT:])
            self._file.write(self._known)
            self._on_news(started.model)


def _key(digest: str, settings: LaunchSettings, device: DeviceId) -> str:
    named = hashlib.sha256(msgspec.json.encode(settings)).hexdigest()[:16]
    return f"{digest} {named} {device}"


def _with_total(share: Footprint, total: int | None) -> Footprint:
    """The compute buffer is what is known least: it takes the difference, as far as it goes."""
    if total is None:
        return share
    return replace(share, compute_bytes=max(0, share.compute_bytes + total - share.total_bytes))
