"""What an engine wrote to its log: the last lines for error messages, and the facts that only the log tells."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable

KEPT_LINES = 50
LONGEST_LINE = 400
MOST_BUFFERS = 1_000

_BUFFER = re.compile(r"(\w+)\s+(?:(\w+)\s+)?buffer size\s*=\s*([\d.]+) MiB")
_OUT_OF_MEMORY = re.compile(
    r"out of memory|insufficient memory|unable to allocate|failed to allocate|cannot allocate memory|bad_alloc|ErrorOutOfDeviceMemory",
    re.IGNORECASE,
)
_LEVEL = re.compile(r"^[\d.]+ ([A-Z]) ")
_COMPLAINT = re.compile(r"error|failed|exception|invalid|cannot|abort|assert|no such", re.IGNORECASE)
_MIB = 1024 * 1024


class Log:
    """Bounded: the last 50 lines, and the buffer sizes of the load."""

    def __init__(self) -> None:
        self._tail: deque[str] = deque(maxlen=KEPT_LINES)
        self._unfinished = b""
        self.buffers: list[tuple[str, str, int]] = []
        """(backend, part, bytes): ("CPU", "KV", 47185920), ("CUDA0", "model", ...)."""
        self.out_of_memory = False

    def feed(self, data: bytes) -> None:
        data = self._unfinished + data
        # Dozens of lines come with every request; few of them are worth a search.
        lowered = data.lower()
        may_be_out = b"memory" in lowered or b"alloc" in lowered
        *lines, self._unfinished = data.split(b"\n")
        self._unfinished = self._unfinished[-LONGEST_LINE:]
        for raw in lines:
            line = raw[:LONGEST_LINE].decode(errors="replace").rstrip()
            if line:
                self._tail.append(line)
                self._learn(line, may_be_out=may_be_out)

    def _learn(self, line: str, *, may_be_out: bool) -> None:
        if "buffer size" in line and (found := _BUFFER.search(line)) and len(self.buffers) < MOST_BUFFERS:
            backend, part, mib = found.groups()
            self.buffers.append((backend, part or "other", round(float(mib) * _MIB)))
        elif may_be_out and _OUT_OF_MEMORY.search(line):
            self.out_of_memory = True

    def tail(self) -> tuple[str, ...]:
        rest = self._unfinished.decode(errors="replace").rstrip()
        return (*self._tail, rest) if rest else tuple(self._tail)

    def complaints(self) -> list[str]:
        """Return the last errors, as their level says; where no line has a level, those that read like errors."""
        errors = [line for line in self.tail() if (level := _LEVEL.match(line)) and level[1] == "E"]
        return errors or [line for line in self.tail() if not _LEVEL.match(line) and _COMPLAINT.search(line)]

    def reason(self) -> str:
        """Find the line that best says why it ended: the first complaint, else the last line."""
        tail = self.tail() or ("it wrote nothing",)
        return _LEVEL.sub("", (self.complaints() or tail[-1:])[0])


def buffer_bytes(buffers: Iterable[tuple[str, str, int]], backend: str, *parts: str) -> int:
    """Sum what one backend allocated, for all parts or for those named."""
    return sum(size for name, part, size in buffers if name == backend and (not parts or part in parts))
