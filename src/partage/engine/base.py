"""The Engine protocol: one model server, ours or somebody else's. start, stream, stop; nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from partage.domain import DeviceId
from partage.work import Output, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What an engine reports once it can serve."""

    load_s: float
    """From start() to ready."""
    measured_bytes: tuple[tuple[DeviceId, int], ...]
    """What it really holds per device, on a GPU without the driver's own part; empty where that cannot be known."""
    context_tokens: int
    """Per slot."""
    slots: int
    pid: int | None = None
    elsewhere_bytes: int = 0
    """What an adopted server says that it holds, on a machine that is not ours to promise."""
    elsewhere_device_bytes: int = 0
    """Of them, on GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineExit:
    """How an engine ended."""

    returncode: int | None
    asked_for: bool
    log_tail: tuple[str, ...] = ()


class Engine(Protocol):
    """One model server.

    Life: start() once, stream() any number of times side by side (the hub never exceeds the slots), stop() once.
    stop() is safe at any time, also while start() runs, which then raises EngineStartFailed.
    """

    async def start(self) -> Loaded:
        """Start and wait until it can serve. Raises EngineStartFailed, EngineOutOfMemory (log tail in the message)."""
        ...

    def stream(self, work: Work) -> AsyncGenerator[Output, None]:
        """Carry out one piece of work; the last item is Done or Vectors.

        Closing the generator (or cancelling its task) ends the work in the engine within one batch or token.
        Raises EngineCrashed, EngineTimedOut, ContextTooLong, InvalidRequest, Unsupported.
        """
        ...

    def pause(self) -> None:
        """Compute nothing from now on and lose nothing: streams go silent, and silence is no error meanwhile.

        Quick, and safe to repeat; not asked of an engine that starts, nor of a server that is not ours. stop() ends a
        paused engine like any other.
        """
        ...

    def resume(self) -> None:
        """Go on where pause() found it. Quick, and safe to repeat."""
        ...

    async def stop(self, grace_s: float) -> None:
        """End it: politely first, by force after `grace_s` seconds. Returns when its memory is free."""
        ...

    async def wait_gone(self) -> EngineExit:
        """Return when the engine has ended, asked for or not."""
        ...
