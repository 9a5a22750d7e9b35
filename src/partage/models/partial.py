"""Downloads under way, in the store's partial/ folder: a folder and a lock for each, swept when nobody comes back."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from partage.models.progress import PullProgress

_TICK_S = 0.2
_STALE_S = 7 * 24 * 3600


async def wait_for_lock(held: ExitStack, partial: Path, key: str) -> AsyncGenerator[PullProgress, None]:
    """Take the lock of one download into `held`, across processes; the kernel lets go of it however its holder ends."""
    lock = held.enter_context((partial / f"{key}.lock").open("ab"))
    while not try_lock(lock):
        yield PullProgress("waiting for a pull under way")
        await asyncio.sleep(_TICK_S)
    sweep(partial)


def sweep(partial: Path) -> None:
    """Drop what was left over by pulls that nobody took up again."""
    now_s = datetime.now(UTC).timestamp()
    for folder in partial.iterdir():
        if folder.is_dir() and now_s - _changed_s(folder, now_s) > _STALE_S:
            with (partial / f"{folder.name}.lock").open("ab") as lock:
                if try_lock(lock):
                    shutil.rmtree(folder, ignore_errors=True)


def _changed_s(folder: Path, now_s: float) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # the pull it belongs to has just ended
        return now_s


def try_lock(lock: BinaryIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
