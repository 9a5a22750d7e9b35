"""Has memory ready before it is written: on another core, while the vocabulary is read, instead of page by page later.

llama.cpp writes its whole KV cache once while it loads, and most of that time is the kernel's, a fault for every 4 KiB.
Here the heap is made as large as what will be written, and another thread has the kernel fill it in one call. The C
library is told meanwhile to take large pieces from the heap too.

Until that call is done nobody else in the process gets a new mapping, and a new thread's stack is one: a server that starts
its threads first would wait for all of it. Hence the stacks are there before, of threads that have ended; the C library keeps
them where engine/workers.py has told it to. Measured by `bench/fast_start.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import threading
from collections.abc import Generator

MADV_POPULATE_WRITE = 23
"""Linux 5.14; before it the call fails, and the load only takes as long as it used to."""
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
NEVER = 2**31 - 1
DEFAULT_TRIM_THRESHOLD, DEFAULT_MMAP_MAX = 128 * 1024, 65536
VOCABULARY_BYTES = 32 << 20
"""About what is taken from the heap before the KV cache."""
STACKS = 24
"""A server starts a thread per slot and some ten more."""


def keep_stacks() -> None:
    """Have stacks ready for the threads of a load (no memory yet, only addresses). Before written_ahead()."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_ARENA_MAX, 1)  # one heap, whichever thread loads; these would leave one each
    all_run = threading.Event()
    threads = [threading.Thread(target=all_run.wait, daemon=True) for _ in range(STACKS)]
    with contextlib.suppress(RuntimeError):  # where so many are not allowed, fewer will do
        for thread in threads:
            thread.start()
    all_run.set()
    for thread in threads:
        if thread.ident is not None:
            thread.join()


@contextlib.contextmanager
def written_ahead(size: int) -> Generator[None]:
    """Have `size` bytes of the heap ready for a load inside; what it leaves goes back to the system."""
    libc = ctypes.CDLL(None)
    if size <= 0 or not hasattr(libc, "mallopt"):  # musl has none
        yield
        return
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    size += VOCABULARY_BYTES
    start = libc.malloc(size)
    libc.free(start)  # the heap keeps it
    first = -(-(start or 0) // mmap.PAGESIZE) * mmap.PAGESIZE
    begun = threading.Event()

    def fill() -> None:
        begun.set()
        libc.madvise(first, (size - mmap.PAGESIZE) // mmap.PAGESIZE * mmap.PAGESIZE, MADV_POPULATE_WRITE)

    if start:
        threading.Thread(target=fill, daemon=True).start()
        begun.wait()  # xllamacpp keeps the interpreter's lock while it loads
    yield
    libc.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
    libc.mallopt(M_TRIM_THRESHOLD, DEFAULT_TRIM_THRESHOLD)
    libc.malloc_trim(0)
