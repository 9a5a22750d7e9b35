"""Runs a command in a process group of its own, and ends all that it has started when it ends or its caller dies, by whatever signal.

`python -m partage.worker.guard CALLER_PID FD -- COMMAND ARGUMENT ...` writes the command's process id to FD and leaves with
its status. The kernel tells only us of the caller's death (PR_SET_PDEATHSIG), not what the command has started itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from partage.worker.tether import PR_SET_PDEATHSIG, tie_to

PR_SET_CHILD_SUBREAPER = 36
_CANNOT_RUN = 127
_PATIENCE_S = 5.0
"""What does not end on SIGKILL by then waits for a device; it is left to it."""


def main(arguments: list[str]) -> int:
    caller_pid, fd, _, *command = arguments
    us = os.getpid()
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the command has made a daemon of comes to us, not to init
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)  # of the terminal: they are meant for the command

    def prepare() -> None:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP, signal.SIGTTOU):
            signal.signal(number, signal.SIG_DFL)
        tie_to(us)  # if we are killed ourselves

    try:
        child = subprocess.Popen(command, process_group=0, preexec_fn=prepare)  # noqa: S603, PLW1509 (theirs; no threads here)
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"partage: cannot run {command[0]}: {getattr(error, 'strerror', None) or error}\n")
        return _CANNOT_RUN

    def end(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, end)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(caller_pid):
        end(signal.SIGTERM, None)
    os.write(int(fd), f"{child.pid}\n".encode())
    os.close(int(fd))
    status = child.returncode = _wait(child.pid)
    end(signal.SIGTERM, None)  # what it left running would hold memory that is nobody's lease
    _end_all_below(us)
    return status if status >= 0 else 128 - status


def _wait(pid: int) -> int:
    """Its status, once it has ended. Ctrl-Z cannot hand it to the shell, which knows our caller only."""
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        if os.WSTOPSIG(status) == signal.SIGTSTP:
            sys.stderr.write("partage: it goes on, for nobody could let it; `partage pause` stops what holds a lease\n")
            os.killpg(pid, signal.SIGCONT)


def _end_all_below(us: int) -> None:
    """One generation after the other: whoever's parent ends becomes our child."""
    until_s = time.monotonic() + _PATIENCE_S
    with contextlib.suppress(ChildProcessError):  # there is none any more
        while time.monotonic() < until_s:
            for pid in Path(f"/proc/{us}/task/{us}/children").read_text(encoding="ascii").split():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(pid), signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
