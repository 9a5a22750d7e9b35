"""Disk space: what is needed against what is there, and the disk's own errors as ours."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Generator, Mapping
from pathlib import Path

from partage.errors import DiskFull, StoreError
from partage.quantities import format_bytes

# A file-size limit (EFBIG) and a quota stop a model just as a full disk does.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: OSError) -> bool:
    return error.errno in _FULL


def size_bytes(path: Path) -> int:
    """0 where there is no such file, or no more."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def check_space(folder: Path, needs: Mapping[str, int]) -> None:
    """Raise DiskFull, with the sum, when the parts do not all fit beside each other."""
    free_bytes = shutil.disk_usage(folder).free
    if sum(needs.values()) > free_bytes:
        raise disk_full(folder, needs)


def disk_full(folder: Path, needs: Mapping[str, int] | None = None, error: object = None) -> DiskFull:
    parts = " + ".join(f"{what} {format_bytes(count)}" for what, count in (needs or {}).items())
    return DiskFull(
        f"not enough disk space in {folder}: "
        + (f"{parts} = {format_bytes(sum((needs or {}).values()))} needed, " if needs else "")
        + f"{format_bytes(shutil.disk_usage(folder).free)} free"
        + (f" ({error})" if error else "")
        + "; make room or set PARTAGE_HOME to a larger disk"
    )


@contextlib.contextmanager
def disk_errors(folder: Path) -> Generator[None]:
    """Turn what the disk says into DiskFull or StoreError."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise disk_full(folder, error=error.strerror) from error
        raise StoreError(f"{error.filename or folder}: {error.strerror or error}") from error
