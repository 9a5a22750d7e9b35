"""Reads the machine once a second, keeps an hour of it in memory, and passes each sample on."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from partage.clock import Clock
from partage.device.attribution import Holdings
from partage.watch.readings import Names, Reading

log = logging.getLogger(__name__)

EVERY_S = 1.0
KEPT_SAMPLES = 3600


@dataclass(frozen=True, slots=True)
class Sample:
    at_s: float
    """On the hub's clock."""
    reading: Reading


class Sampler:
    def __init__(self, read: Callable[[Names], Reading], names: Callable[[], Names], clock: Clock) -> None:
        self._read = read
        self._names = names
        self._clock = clock
        self.samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        self.listeners: list[Callable[[Sample], None]] = []
        """Called on the event loop with each new sample."""

    @property
    def latest(self) -> Reading:
        return self.samples[-1].reading if self.samples else Reading()

    def holdings(self) -> list[Holdings]:
        """Whose the memory of each GPU is, as of the latest sample."""
        latest = self.latest
        return [
            Holdings(
                device=gpu.uuid,
                total_bytes=gpu.total_bytes,
                used_bytes=gpu.used_bytes,
                owners=latest.owners.get(gpu.uuid),
            )
            for gpu in latest.survey.gpus
            if gpu.used_bytes is not None
        ]

    def take(self, reading: Reading) -> None:
        sample = Sample(self._clock.now_s(), reading)
        self.samples.append(sample)
        for listener in self.listeners:
            try:
                listener(sample)
            except Exception:  # a defect in an alert or in the history must not end the sampling
                log.exception("a sample was not taken by %s", getattr(listener, "__qualname__", listener))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Sample while inside."""
        async with asyncio.TaskGroup() as tasks:
            sampling = tasks.create_task(self._sample(), name="sample the machine")
            try:
                yield
            finally:
                sampling.cancel()

    async def _sample(self) -> None:
        while True:
            try:
                self.take(await asyncio.to_thread(self._read, self._names()))
            except Exception:  # the edge: whatever this machine answers, the next second is read again
                log.exception("this second was not read")
            await asyncio.sleep(EVERY_S)
