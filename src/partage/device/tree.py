"""A process and all below it: who they are, and what they hold of the host's memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")


def tree(pid: int, root: Path = PROC) -> list[int]:
    """The process and those below it, without those that have ended and only wait to be noticed (zombies)."""
    found: list[int] = []
    ahead = [pid]
    while ahead:
        one = ahead.pop()
        if one in found or not _lives(root / str(one)):
            continue
        found.append(one)
        for children in (root / str(one) / "task").glob("*/children"):
            ahead += [int(child) for child in _read(children).split()]
    return found


def host_bytes(pids: Iterable[int], limit_bytes: int, root: Path = PROC) -> int:
    """Resident memory of them all. Pages that they share are counted once, as far as it takes to tell whether the limit holds.

    Reckoning shared pages means walking the page tables, milliseconds per GiB; the plain sum, which is never less, is free.
    """
    directories = [root / str(pid) for pid in pids]
    resident = sum(_field_kib(_read(one / "status"), "VmRSS:") for one in directories) << 10
    if resident <= limit_bytes:
        return resident
    shares = [_field_kib(_read(one / "smaps_rollup"), "Pss:") << 10 for one in directories]
    return sum(shares) if all(shares) else resident  # another user's pages may not be looked at


def _lives(directory: Path) -> bool:
    status = _read(directory / "status")
    return bool(status) and "\nState:\tZ" not in status


def _field_kib(text: str, name: str) -> int:
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
