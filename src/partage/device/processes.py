"""What /proc says of a process: its parent, user, command, and the container it runs in."""

from __future__ import annotations

import contextlib
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO: the kernel gives the machine's own namespace this number, always."""
NVIDIA_DEVICES = "/dev/nvidia"
LONGEST_COMMAND = 200
DEEPEST = 64
"""Parents that are followed."""

_CONTAINER = re.compile(r"(?<=[/-])[0-9a-f]{64}(?=\.scope|/|$)")
"""In the path of /proc/PID/cgroup: /docker/ID, docker-ID.scope, libpod-ID.scope, cri-containerd-ID.scope, /kubepods/.../ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    pid: int
    parent: int
    user: str
    command: str
    container: str | None
    """Its id, 64 hexadecimal digits."""


class Processes:
    """A /proc, this machine's or a copy of one."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root

    def facts(self, pid: int) -> ProcessFacts | None:
        """None where there is no such process, or it is not ours to see."""
        directory = self._root / str(pid)
        try:
            status = dict(
                line.split(":\t", 1) for line in (directory / "status").read_text().splitlines() if ":\t" in line
            )
            return ProcessFacts(
                pid=pid,
                parent=int(status["PPid"]),
                user=_user(int(status["Uid"].split()[0])),
                command=self._command(directory) or status.get("Name", ""),
                container=container_of(_text(directory / "cgroup")),
            )
        except (OSError, KeyError, ValueError):
            return None

    def lineage(self, pid: int) -> Iterator[int]:
        """The process, its parent, and so on up to init."""
        for _ in range(DEEPEST):
            yield pid
            found = self.facts(pid)
            if found is None or found.parent <= 0:
                return
            pid = found.parent

    def sees_host_pids(self) -> bool | None:
        """Whether our process ids are the machine's, as the driver's are; None where /proc does not say."""
        try:
            return (self._root / "self/ns/pid").readlink().name == INITIAL_PID_NAMESPACE
        except OSError:
            return None

    def holds_gpu(self, pid: int) -> bool:
        """Whether it has a device of NVIDIA's open; False, too, where it may not be looked at."""
        with contextlib.suppress(OSError):
            return any(_target(one).startswith(NVIDIA_DEVICES) for one in (self._root / str(pid) / "fd").iterdir())
        return False

    def _command(self, directory: Path) -> str:
        with contextlib.suppress(OSError):
            return (
                (directory / "cmdline")
                .read_bytes()
                .replace(b"\0", b" ")
                .decode(errors="replace")
                .strip()[:LONGEST_COMMAND]
            )
        return ""


def container_of(cgroup: str) -> str | None:
    """The container's id in the text of /proc/PID/cgroup; None for a process of the host."""
    for line in cgroup.splitlines():
        found = _CONTAINER.findall(line.split(":", 2)[-1])
        if found:
            return found[-1]  # the innermost, where containers run in containers
    return None


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""  # closed since


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
