"""Ties a process to its parent: when the parent dies, by whatever signal, the kernel ends the process too.

Where memory runs out, the kernel ends the process and not the parent.

As a program it ties itself and becomes another one:
`python -m partage.worker.tether PARENT_PID [--stdout-is-log] NAME=VALUE ... -- COMMAND ARGUMENT ...`
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJ = 500
"""Where memory runs out, the kernel ends what can be started again, and not the hub (proc(5), oom_score_adj)."""
STDOUT_IS_LOG = "--stdout-is-log"
"""For a command that prints its log on stdout, where its caller expects something else."""


def tie_to(parent_pid: int) -> None:
    """Die with the parent, or before it where memory runs out.

    By the parent the kernel means the thread that forked us: for the hub, the one that runs its loop.
    """
    with contextlib.suppress(OSError):  # it has been given more already
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ), encoding="ascii")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:  # it died before the line above
        sys.exit("the hub is gone")


def main(arguments: list[str]) -> None:
    split = arguments.index("--")
    parent_pid, *settings = arguments[:split]
    command = arguments[split + 1 :]
    tie_to(int(parent_pid))
    environment = {name: value for name, _, value in (setting.partition("=") for setting in settings if "=" in setting)}
    os.environ.update(environment)  # noqa: TID251 (set for the child, not read)
    if STDOUT_IS_LOG in settings:
        os.dup2(2, 1)
    try:
        os.execvp(command[0], command)  # noqa: S606 (no shell is meant)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
