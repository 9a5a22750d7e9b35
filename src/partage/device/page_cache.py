"""The page cache: how much of a file is in memory, and reading a file into it ahead of whoever needs it."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SAMPLES = 64
READERS = 4
PIECE_BYTES = 4 << 20


def cached_share(path: str | Path, phase: float = 0.5) -> float | None:
    """The part of the file that needs no disk, from 64 pages of it; None where the filesystem cannot say.

    `phase` (0 to 1) shifts the pages: looking at a page keeps it in memory, and always the same ones would mislead.
    Raises OSError where there is no such file.
    """
    page = bytearray(1)
    cached = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        for sample in range(SAMPLES):
            try:
                os.preadv(descriptor, [page], int(size * (sample + phase) / SAMPLES), os.RWF_NOWAIT)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in {errno.EOPNOTSUPP, errno.EINVAL}:
                    return None
                raise
            cached += 1
    finally:
        os.close(descriptor)
    return cached / SAMPLES


def read_ahead(path: str | Path, stop: threading.Event) -> int:
    """Bring the whole file into the page cache, by several readers at once; returns the bytes read. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size

        def read(reader: int) -> int:
            piece = bytearray(PIECE_BYTES)
            total = 0
            for offset in range(reader * PIECE_BYTES, size, READERS * PIECE_BYTES):
                if stop.is_set():
                    break
                total += os.preadv(descriptor, [piece], offset)
            return total

        with ThreadPoolExecutor(READERS, thread_name_prefix="read-ahead") as readers:
            return sum(readers.map(read, range(READERS)))
    finally:
        os.close(descriptor)
