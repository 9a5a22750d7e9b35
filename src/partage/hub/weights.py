"""Where each model's weights are (loaded, parked, in the page cache, on disk), what a load costs from there, and reading ahead."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeAlias

from partage.clock import Clock
from partage.device.page_cache import cached_share, read_ahead
from partage.domain import Client, Device, EngineId, Model, Placement
from partage.errors import PartageError
from partage.hub.load_times import LoadTimes, guess_s, kind_of
from partage.policy.actions import Action, StartEngine
from partage.policy.events import (
    EngineFailed,
    EngineGone,
    EngineParked,
    EngineReady,
    EngineUnparked,
    Event,
    ModelForgotten,
    ModelLearned,
    ModelProfile,
    RequestArrived,
)

log = logging.getLogger(__name__)

LOOK_S = 5.0
WORTH_TELLING_S, WORTH_TELLING_PART = 0.1, 0.25
MOST_OF_FREE_RAM = 0.5
"""A file that would take more of it is not read ahead: it would push out what is in use."""
MOSTLY = 0.5
"""With less of it in the page cache, a model counts as being on disk."""

Tier: TypeAlias = Literal["loaded", "parked", "page cache", "disk"]


class Library(Protocol):
    def get(self, name: str) -> Model: ...


@dataclass(frozen=True, slots=True)
class Price:
    """What one model would cost to load now."""

    model: str
    tier: Tier
    cached_share: float | None
    load_s: float


@dataclass(frozen=True, slots=True)
class _Load:
    model: Model
    placement: Placement
    cached_share: float | None


class Weights:
    """Satisfies ports.Observer."""

    def __init__(
        self,
        library: Library,
        times: LoadTimes,
        devices: Sequence[Device],
        clock: Clock,
        free_bytes: Callable[[], int],
        share: Callable[[str, float], float | None] = cached_share,
    ) -> None:
        self._library = library
        self._times = times
        self._devices = tuple(devices)
        self._clock = clock
        self._free_bytes = free_bytes
        self._share = share
        self._profiles: dict[str, ModelProfile] = {}
        """As the policy was told last."""
        self._loads: dict[EngineId, _Load] = {}
        """Engines that start or are there."""
        self._parked: set[EngineId] = set()
        self._shares: dict[str, float | None] = {}
        """Of each file in the page cache, as of the last look."""
        self._wanted: asyncio.Queue[Model] = asyncio.Queue()
        self._reading: set[str] = set()

    def load_s(self, model: Model, placement: Placement) -> float:
        """Expected seconds of a load from where the weights are now."""
        return self._expected_s(model, placement, self._cached_share(model))

    def prices(self) -> list[Price]:
        """Of every model that was asked for since the hub began."""
        loaded = self._loaded()
        found: list[Price] = []
        for name, profile in self._profiles.items():
            model = self._local(name)
            if model is not None:
                share = self._shares[model.path] if model.path in self._shares else self._cached_share(model)
                on_disk = share is not None and share < MOSTLY
                tier = loaded.get(name) or ("disk" if on_disk else "page cache")
                found.append(Price(name, tier, share, self._expected_s(model, profile.placements[0], share)))
        return found

    def news(self) -> list[ModelLearned]:
        """Models whose price has changed so much that the policy should know."""
        changed: list[ModelLearned] = []
        for price in self.prices():
            known = self._profiles[price.model]
            difference_s = abs(price.load_s - known.load_s)
            if difference_s > max(WORTH_TELLING_S, WORTH_TELLING_PART * known.load_s):
                changed.append(ModelLearned(replace(known, load_s=price.load_s)))
        return changed

    def _expected_s(self, model: Model, placement: Placement, share: float | None) -> float:
        guess = guess_s(placement, self._devices)
        return self._times.expected_s(
            model.digest, kind_of(placement, self._devices), model.anatomy.weights_bytes, guess, share
        )

    def _loaded(self) -> dict[str, Tier]:
        """Models with an engine."""
        return {load.model.name: "parked" if one in self._parked else "loaded" for one, load in self._loads.items()}

    def _has_engine(self, model: str) -> bool:
        return any(load.model.name == model for load in self._loads.values())

    def _cached_share(self, model: Model) -> float | None:
        try:
            return self._share(model.path, self._clock.now_s() * 0.618 % 1.0)
        except OSError:  # it is gone, and whoever loads it will say so
            return None

    def _local(self, name: str) -> Model | None:
        try:
            model = self._library.get(name)
        except PartageError:
            return None
        return model if model.remote is None else None

    def decided(self, at_s: float, event: Event, actions: Sequence[Action]) -> None:
        del at_s
        match event:
            case ModelLearned(profile=profile):
                self._profiles[profile.model] = profile
            case ModelForgotten(model=model):
                self._profiles.pop(model, None)
            case EngineReady(engine=engine, load_s=load_s) if engine in self._loads:
                self._learn(self._loads[engine], load_s)
            case EngineFailed(engine=engine) | EngineGone(engine=engine):
                self._loads.pop(engine, None)
                self._parked.discard(engine)
            case EngineParked(engine=engine):
                self._parked.add(engine)
            case EngineUnparked(engine=engine):
                self._parked.discard(engine)
            case RequestArrived(demand=demand) if not self._has_engine(demand.model):
                self._want(self._local(demand.model))
            case _:
                pass
        for action in actions:
            if isinstance(action, StartEngine) and (model := self._local(action.model)) is not None:
                self._loads[action.engine] = _Load(model, action.placement, self._cached_share(model))
                self._want(model)

    def refused(self, client: Client, model: str, error: PartageError) -> None:
        """Nothing will be loaded for it."""

    def _learn(self, load: _Load, load_s: float) -> None:
        self._times.learn(
            load.model.digest,
            kind_of(load.placement, self._devices),
            load.model.anatomy.weights_bytes,
            guess_s(load.placement, self._devices),
            load.cached_share,
            load_s,
        )

    def _want(self, model: Model | None) -> None:
        if model is not None and model.path not in self._reading:
            self._reading.add(model.path)
            self._wanted.put_nowait(model)

    @asynccontextmanager
    async def watching(self, post: Callable[[Event], None]) -> AsyncGenerator[None]:
        """Read ahead and tell the policy of new prices while inside."""
        stop = threading.Event()
        async with asyncio.TaskGroup() as tasks:
            work = [tasks.create_task(self._read(stop)), tasks.create_task(self._look(post))]
            try:
                yield
            finally:
                stop.set()
                for task in work:
                    task.cancel()

    async def _look(self, post: Callable[[Event], None]) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self._look_at_files()
                for news in self.news():
                    post(news)
            except Exception:  # the edge: a store that cannot be read now may be readable the next time
                log.exception("what loads cost was not looked at")

    async def _look_at_files(self) -> None:
        """In a thread: some seventy reads for each, and nobody who asks for the prices should wait for them."""
        models = [model for name in self._profiles if (model := self._local(name)) is not None]
        self._shares = await asyncio.to_thread(lambda: {model.path: self._cached_share(model) for model in models})

    async def _read(self, stop: threading.Event) -> None:
        while True:
            model = await self._wanted.get()
            try:
                if self.worth_reading(model):
                    await asyncio.to_thread(read_ahead, model.path, stop)
            except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
                log.warning("%s cannot be read ahead: %s", model.name, error)
            finally:
                self._reading.discard(model.path)

    def worth_reading(self, model: Model) -> bool:
        """Some of it is on disk, and there is room for it beside what is in use."""
        share = self._cached_share(model)
        return share is not None and share < 1.0 and model.size_bytes <= MOST_OF_FREE_RAM * self._free_bytes()
