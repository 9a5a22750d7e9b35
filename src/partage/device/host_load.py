"""The host at this moment: processor, memory, swap, page cache, disk. For people and alerts; budgets are host.py's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLoad:
    """A missing reading is None, not an exception."""

    cpu_percent: float | None = None
    """Of all cores, since the reading before."""
    total_bytes: int | None = None
    available_bytes: int | None = None
    cached_bytes: int | None = None
    """Page cache: model files that need not be read from the disk again."""
    swap_used_bytes: int | None = None
    disk_total_bytes: int | None = None
    """Of the file system that holds the models."""
    disk_free_bytes: int | None = None


def read_load(home: Path) -> HostLoad:
    memory, swap, disk = psutil.virtual_memory(), _swap_used_bytes(), _disk(home)
    return HostLoad(
        cpu_percent=psutil.cpu_percent(None),
        total_bytes=memory.total,
        available_bytes=memory.available,
        cached_bytes=getattr(memory, "cached", None),
        swap_used_bytes=swap,
        disk_total_bytes=disk[0] if disk else None,
        disk_free_bytes=disk[1] if disk else None,
    )


def _swap_used_bytes() -> int | None:
    try:
        return psutil.swap_memory().used
    except (OSError, RuntimeError):  # /proc/vmstat is hidden in some containers
        return None


def _disk(home: Path) -> tuple[int, int] | None:
    there = next((path for path in (home, *home.parents) if path.exists()), Path("/"))
    try:
        usage = psutil.disk_usage(str(there))
    except OSError:
        return None
    return usage.total, usage.free
