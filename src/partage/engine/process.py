"""A child process: started in a session of its own, watched, ended, reaped. The engines' only use of subprocesses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import cast

from partage.engine.log import Log

LONGEST_READY_LINE = 64 * 1024


class Child(asyncio.SubprocessProtocol):
    """One child. What it prints on stdout is one line, when it is ready; all else goes to stderr and into `log`.

    A session of its own keeps Ctrl-C in the terminal for the hub, and lets its own children be ended with it.
    """

    def __init__(self) -> None:
        self.log = Log()
        self.pid = 0
        self.returncode: int | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdout = b""
        self._spoke = asyncio.Event()
        self._gone = asyncio.Event()

    async def wait_line(self) -> bytes | None:
        """Return its line on stdout, or None when it ends without one."""
        await self._spoke.wait()
        line, newline, _ = self._stdout.partition(b"\n")
        return line if newline else None

    def say(self, line: bytes, *, last: bool = False) -> None:
        """Give it a line on stdin, the way for what must not be seen in a process list; it may be gone already."""
        assert self._transport is not None
        pipe = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            pipe.write(line + b"\n")
        if last:
            pipe.close()

    async def wait_gone(self) -> int:
        await self._gone.wait()
        assert self.returncode is not None
        return self.returncode

    async def end(self, grace_s: float) -> int:
        """TERM, then KILL after the grace; returns the return code once it is reaped. Safe to repeat."""
        if not self._gone.is_set():
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a paused process does not see a TERM before it goes on
            try:
                async with asyncio.timeout(grace_s):
                    await self._gone.wait()
            except TimeoutError:
                pass
            finally:  # also when we are cancelled while we wait: nothing is left behind
                self._signal(signal.SIGKILL)
        return await self.wait_gone()

    def pause(self) -> None:
        """Stop all its threads where they are, and those of its own children."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid and not self._gone.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        if fd == 2:
            self.log.feed(data)
        elif not self._spoke.is_set():
            self._stdout += data
            if b"\n" in data or len(self._stdout) > LONGEST_READY_LINE:
                self._spoke.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Wait for the exit itself: a pipe may outlive it in a grandchild, or be closed before it."""

    def process_exited(self) -> None:
        assert self._transport is not None
        self.returncode = self._transport.get_returncode()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what it may have started itself
        # The last lines may still be in the pipe; they are read in the loop's next rounds.
        asyncio.get_running_loop().call_later(0.01, self._settle)

    def _settle(self) -> None:
        assert self._transport is not None
        self._transport.close()
        self._spoke.set()
        self._gone.set()


async def spawn(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Child:
    """Start a child with our environment and these, its stdin open for say(). Raises OSError."""
    _, child = await asyncio.get_running_loop().subprocess_exec(
        Child,
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(variables or {})},  # noqa: TID251 passed on, not read
        start_new_session=True,
    )
    return child
