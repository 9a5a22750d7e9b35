"""Waits for what a process of its own does: in live tests, where time is real."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(holds: Callable[[], bool], within_s: float = 20) -> float:
    """Seconds until it held."""
    begun_s = time.monotonic()
    while not holds():
        assert time.monotonic() - begun_s < within_s, f"not within {within_s:g} s"
        time.sleep(0.02)
    return time.monotonic() - begun_s
