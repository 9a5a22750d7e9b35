"""Starts the children of models/child.py, and understands how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec

from partage.errors import DigestMismatch, DiskFull, ModelFileError, PartageError, PullError, StoreError
from partage.models.child import FAILED, Failure

_TICK_S = 0.2
_ERRORS: dict[str, type[PartageError]] = {
    kind.__name__: kind for kind in (DigestMismatch, DiskFull, ModelFileError, PullError, StoreError)
}


@contextlib.asynccontextmanager
async def child_process(log: Path, task: str, *arguments: str) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    """A child process that is gone when the block is left."""
    command = (sys.executable, "-P", "-m", "partage.models.child", task, str(os.getpid()), *arguments)
    with log.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def wait_a_tick(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TICK_S):
            await process.wait()


def failure(status: int | None, log: Path, what: str) -> PartageError:
    """Our own error, if it ended with one; else PullError with what it said last."""
    said = log.read_text(errors="replace")
    if status == FAILED:
        told = msgspec.json.decode(last_line(said), type=Failure)
        return _ERRORS[told.kind](told.message)
    return PullError(f"{what} ended with status {status}: {reason(said)}")


def last_line(text: str) -> str:
    lines = text.splitlines()
    return lines[-1] if lines else ""


def reason(said: str) -> str:
    """What pip or Python gave as the reason: its last line that says so, else its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("[notice]")]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it said nothing"])[-1]
