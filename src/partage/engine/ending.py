"""Why a child ended, in words: its signal or exit code, and whether the kernel took it for memory."""

from __future__ import annotations

import signal
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/memory.events")
MACHINE = Path("/proc/vmstat")
OUT_OF_MEMORY = (
    "killed by the kernel: memory ran out (SIGKILL); promise less of it (devices: [{host: true, memory: 8GiB}] in partage.yaml), "
    "give the container more, or look who else takes it (partage top)"
)


def oom_kills(cgroup: Path = CGROUP, machine: Path = MACHINE) -> int:
    """How many processes the kernel has killed for memory: in our cgroup, else on this machine; 0 where nobody says."""
    for path in (cgroup, machine):
        try:
            lines = path.read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def in_words(returncode: int, *, killed_for_memory: bool) -> str:
    if returncode == -signal.SIGKILL and killed_for_memory:
        return OUT_OF_MEMORY
    if returncode < 0:
        return signal.Signals(-returncode).name
    return f"exit code {returncode}"
