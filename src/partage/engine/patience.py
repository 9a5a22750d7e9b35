"""How long to wait for a server that says nothing: counted for each silence, and not while the server is paused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Patience:
    """`over` is called when the other side has been silent for `limit_s` since begin(), and end() has not come."""

    def __init__(self, limit_s: float, over: Callable[[], None], *, paused: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit_s = limit_s
        self._over = over
        self._paused = paused
        self._left_s: float | None = None
        """While somebody waits."""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._left_s = self._limit_s
        self._run()

    def end(self) -> None:
        self._left_s = None
        self._halt()

    def pause(self) -> None:
        if self._timer is not None:
            self._left_s = self._timer.when() - self._loop.time()
        self._paused = True
        self._halt()

    def resume(self) -> None:
        """Go on with what was left."""
        if self._paused:
            self._paused = False
            self._run()

    def _run(self) -> None:
        if self._left_s is not None and not self._paused:
            self._timer = self._loop.call_later(max(0.0, self._left_s), self._over)

    def _halt(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
