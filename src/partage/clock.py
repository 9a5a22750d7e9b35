"""The clock: time is an argument everywhere else, so that tests and the simulator can bring their own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that only ever grow; no relation to the calendar."""

    def now_s(self) -> float: ...


class SystemClock:
    def now_s(self) -> float:
        return time.monotonic()


class FakeClock:
    """A clock that moves when told to. Shipped with the package: users' tests need it too."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        assert seconds >= 0, "time does not run backwards"
        self._now_s += seconds


def unix_s() -> float:
    """Seconds since 1970, for what people and files are told; it may jump. Durations are taken from a Clock."""
    return time.time()  # noqa: TID251 this is the one place
