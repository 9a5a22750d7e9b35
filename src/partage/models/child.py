"""What a pull runs in child processes: pip, and the work on foreign files. They die with their parent, within limits.

python -m partage.models.child pip PARENT_PID TEMPORARY_FOLDER ARGUMENT...
python -m partage.models.child install PARENT_PID JOB_FILE
python -m partage.models.child quantise PARENT_PID SOURCE TARGET TYPE
python -m partage.models.child program PARENT_PID PROGRAM ARGUMENT...
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from partage.errors import PartageError
from partage.models.disk import disk_errors
from partage.models.package import Job, install

FAILED = 3
"""Exit status: the last line of output is a Failure."""
_PR_SET_PDEATHSIG = 1
_MEMORY_BYTES = 4 << 30
_CPU_S = 600
_QUANTISED_BYTES_PER_S = 5_000_000


class Failure(msgspec.Struct, frozen=True):
    """One of our errors, on its way to the parent."""

    kind: str
    message: str


def main() -> None:
    task, parent, *arguments = sys.argv[1:]
    _die_with(int(parent))
    match task:
        case "pip":
            _pip(*arguments)
        case "install":
            _within_limits(lambda: _install(*arguments), _CPU_S)
        case "quantise":
            source, target, to = arguments
            cpu_s = _CPU_S + Path(source).stat().st_size // _QUANTISED_BYTES_PER_S
            _within_limits(lambda: _quantise(Path(source), Path(target), to), cpu_s)
        case "program":
            os.execv(arguments[0], arguments)  # noqa: S606 it inherits the tie to our parent
        case _:
            sys.exit(f"no such task: {task}")


def _pip(temporary: str, *arguments: str) -> None:
    tempfile.tempdir = temporary  # downloads go to the store's disk, where we look for room and clean up
    sys.argv = ["pip", *arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


def _install(job_file: str) -> None:
    install(msgspec.json.decode(Path(job_file).read_bytes(), type=Job), _say)


def _quantise(source: Path, target: Path, to: str) -> None:
    from partage.models.requantise import quantise  # noqa: PLC0415 gguf and numpy take 0.3 s to import

    with disk_errors(target.parent):
        quantise(source, target, to=to)


def _within_limits(work: Callable[[], None], cpu_s: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    try:
        work()
    except PartageError as error:
        _say(msgspec.json.encode(Failure(type(error).__name__, error.message)).decode())
        sys.exit(FAILED)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        sys.exit(FAILED)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
