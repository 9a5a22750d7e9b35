"""Carries out start and stop orders, and reports what became of them. Nothing else starts or stops an engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from partage.clock import Clock
from partage.device.host import HOST
from partage.domain import DeviceId, EngineId, Model, Placement
from partage.engine.base import Engine, Loaded
from partage.errors import EngineOutOfMemory, EngineStartFailed, ParkFailed, PartageError, ShuttingDown
from partage.hub.ticket import End, Grant
from partage.policy.actions import StartEngine
from partage.policy.events import (
    EngineFailed,
    EngineGone,
    EngineParked,
    EngineParkFailed,
    EngineReady,
    EngineUnparked,
    Event,
)

log = logging.getLogger(__name__)

MakeEngine = Callable[[EngineId, Model, Placement], Engine]


class Checkpoint(Protocol):
    """Moves what a process holds on its devices to RAM and back; device/checkpoint.py. Both block, for seconds."""

    def park(self, pid: int) -> None:
        """Raises ParkFailed; the process goes on as before."""
        ...

    def unpark(self, pid: int) -> None:
        """Raises ParkFailed; the process can only be ended."""
        ...


@dataclass(slots=True)
class Resident:
    model: Model
    placement: Placement
    engine: Engine
    started_s: float
    ready_s: float | None = None
    loaded: Loaded | None = None
    end: End = field(default_factory=End)
    parked: bool = False
    """Its process is frozen, and cannot end politely."""


class Residents:
    def __init__(
        self,
        make_engine: MakeEngine,
        post: Callable[[Event], None],
        clock: Clock,
        tasks: asyncio.TaskGroup,
        *,
        stop_grace_s: float = 5.0,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._make_engine = make_engine
        self._post = post
        self._clock = clock
        self._tasks = tasks
        self._stop_grace_s = stop_grace_s
        self._checkpoint = checkpoint
        self.running: dict[EngineId, Resident] = {}

    def start(self, order: StartEngine, model: Model) -> None:
        self._tasks.create_task(self._live(order, model), name=f"engine {order.engine}")

    def stop(self, engine: EngineId, reason: str) -> None:
        """The reason is for those that it serves."""
        resident = self.running.get(engine)
        if resident is not None:
            resident.end.reason = reason
            grace_s = 0.0 if resident.parked else self._stop_grace_s
            self._tasks.create_task(_stop(resident, grace_s), name=f"stop {engine}")

    def park(self, engine: EngineId, *, mid_answer: bool) -> None:
        self._tasks.create_task(self._park(engine, mid_answer=mid_answer), name=f"park {engine}")

    def unpark(self, engine: EngineId) -> None:
        self._tasks.create_task(self._unpark(engine), name=f"unpark {engine}")

    async def _park(self, engine: EngineId, *, mid_answer: bool) -> None:
        resident, began_s = self.running.get(engine), self._clock.now_s()
        try:
            if resident is None:
                return  # it has ended since; the policy knows
            resident.parked = True
            await self._copy(resident, "park")
            if mid_answer:  # it computes nothing while the driver has its memory, but its silence must be no error
                resident.engine.pause()
        except ParkFailed as error:
            log.warning("%s could not be parked: %s", engine, error.message)
            if resident is not None:
                resident.parked = False
            self._post(EngineParkFailed(engine=engine, reason=error.message))
        else:
            self._post(EngineParked(engine=engine, park_s=self._clock.now_s() - began_s))

    async def _unpark(self, engine: EngineId) -> None:
        resident, began_s = self.running.get(engine), self._clock.now_s()
        if resident is None:
            return
        resident.engine.resume()  # a thread of its own carries out what the driver is asked for
        try:
            await self._copy(resident, "unpark")
        except ParkFailed as error:
            log.warning("%s could not be brought back, and is ended: %s", engine, error.message)
            resident.end.reason = f"it could not be brought back from RAM: {error.message}"
            await _stop(resident, 0.0)  # its end tells the policy that the memory is free
        else:
            resident.parked = False
            resident.started_s, resident.ready_s = began_s, self._clock.now_s()
            self._post(EngineUnparked(engine=engine, unpark_s=resident.ready_s - began_s))

    async def _copy(self, resident: Resident, way: Literal["park", "unpark"]) -> None:
        """Raises ParkFailed."""
        pid = resident.loaded.pid if resident.loaded is not None else None
        if self._checkpoint is None or pid is None:
            raise ParkFailed("there is nothing here that can")
        await asyncio.to_thread(self._checkpoint.park if way == "park" else self._checkpoint.unpark, pid)

    def pause(self, engine: EngineId) -> None:
        if engine in self.running:
            self.running[engine].engine.pause()

    def resume(self, engine: EngineId) -> None:
        if engine in self.running:
            self.running[engine].engine.resume()

    def grant(self, engine: EngineId) -> Grant | None:
        """A slot of the engine; None when it has ended since the policy decided (its end is on the way to it)."""
        resident = self.running.get(engine)
        if resident is None or resident.ready_s is None:
            return None
        return Grant(
            engine=resident.engine,
            load_began_s=resident.started_s,
            load_ended_s=resident.ready_s,
            end=resident.end,
        )

    def stop_all(self) -> None:
        for engine in list(self.running):
            self.stop(engine, ShuttingDown().message)

    async def _live(self, order: StartEngine, model: Model) -> None:
        """One engine, from its start to its end; every road out tells the policy that the memory is free."""
        try:
            engine = self._make_engine(order.engine, model, order.placement)
        except (PartageError, OSError) as error:  # OSError: its directory cannot be made
            self._post(EngineFailed(engine=order.engine, reason=str(error)))
            return
        resident = Resident(model, order.placement, engine, self._clock.now_s())
        self.running[order.engine] = resident
        outcome: Event = EngineGone(engine=order.engine, crashed=True)
        try:
            resident.loaded = await engine.start()
            resident.ready_s = self._clock.now_s()
            log.info("%s is ready after %.2f s", order.engine, resident.loaded.load_s)
            self._post(
                EngineReady(
                    engine=order.engine,
                    load_s=resident.loaded.load_s,
                    measured_bytes=_held_bytes(order.placement, resident.loaded),
                )
            )
            gone = await engine.wait_gone()
            outcome = EngineGone(engine=order.engine, crashed=not gone.asked_for)
            if not gone.asked_for:
                log.warning("%s ended unasked (status %s): %s", order.engine, gone.returncode, _last(gone.log_tail))
        except EngineStartFailed as error:
            log.warning("%s did not start: %s", order.engine, error.message)
            outcome = EngineFailed(
                engine=order.engine, reason=error.message, out_of_memory=isinstance(error, EngineOutOfMemory)
            )
        except Exception as error:  # the edge of this loop: one broken engine must not take the hub down
            log.exception("%s failed in an unforeseen way", order.engine)
            outcome = EngineFailed(engine=order.engine, reason=f"{type(error).__name__}: {error}")
        finally:
            await _stop(resident, self._stop_grace_s)
            del self.running[order.engine]
            self._post(outcome)
            resident.end.known.set()


async def _stop(resident: Resident, grace_s: float) -> None:
    try:
        await resident.engine.stop(grace_s)
    except Exception:  # as above: what it cannot clean up behind itself ends nobody else
        log.exception("%s did not end in order", resident.model.name)


def _held_bytes(placement: Placement, loaded: Loaded) -> tuple[tuple[DeviceId, int], ...]:
    """What to count for it: on a GPU its buffers, and as estimated what no log has; on the host no less than the estimate.

    No log has the driver's part and a projector. Host pages that are not touched yet are not there yet. What it really holds
    from then on, weighing.py sees.
    """
    unlogged = {device: share.overhead_bytes + share.projector_bytes for device, share in placement.shares}
    return tuple(
        (device, max(size, placement.bytes_on(device)) if device == HOST else size + unlogged.get(device, 0))
        for device, size in loaded.measured_bytes
    )


def _last(lines: tuple[str, ...]) -> str:
    return lines[-1] if lines else "no log"
