"""Reading processes: started when needed, one call at a time each, killed when late, and replaced when they crash."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import msgspec

from partage.documents.calls import (
    LENGTH,
    Call,
    Pages,
    Picture,
    Read,
    ReadPage,
    RenderPage,
    Reply,
    Setup,
    Unreadable,
    frame,
)
from partage.documents.settings import DocumentSettings
from partage.errors import DocumentUnreadable

log = logging.getLogger(__name__)
_replies = msgspec.msgpack.Decoder(Pages | Picture | Read | Unreadable)


class ReaderPool:
    """At most `workers` processes. A document that crashes or stalls its process costs only itself."""

    def __init__(self, settings: DocumentSettings) -> None:
        self._settings = settings
        self._idle: list[Process] = []
        self._free = asyncio.Semaphore(settings.workers)
        self._expiry: dict[int, asyncio.TimerHandle] = {}
        self._busy: set[Process] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for timer in self._expiry.values():
            timer.cancel()
        for process in [*self._idle, *self._busy]:
            await _end(process)
        self._idle.clear()

    @property
    def pids(self) -> tuple[int, ...]:
        """Of all living reading processes."""
        return tuple(process.pid for process in (*self._idle, *self._busy) if process.returncode is None)

    async def call(self, call: Call) -> Reply:
        """Raises DocumentUnreadable when the document is at fault, or its process crashed, stalled or ran out of memory."""
        page = f"page {call.number}" if isinstance(call, ReadPage | RenderPage) else "the document"
        limit_s = self._settings.limits.page_s
        async with self._process() as process:
            try:
                async with asyncio.timeout(limit_s):
                    reply = await _exchange(process, call)
            except TimeoutError as error:
                raise DocumentUnreadable(f"reading {page} took longer than {limit_s:g} s and was stopped") from error
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                cause = _ending(await process.wait())
                log.warning("a reading process ended on %s: %s", page, cause)
                raise DocumentUnreadable(f"the program that reads {page} crashed on it ({cause})") from error
        if isinstance(reply, Unreadable):
            raise DocumentUnreadable(reply.message)
        return reply

    @asynccontextmanager
    async def _process(self) -> AsyncGenerator[Process]:
        async with self._free:
            process = self._take() or await self._start()
            self._busy.add(process)
            try:
                yield process
            except BaseException:
                # Late, crashed or no longer wanted: whatever it is doing, nobody waits for the answer.
                await _end(process)
                raise
            else:
                self._idle.append(process)
                self._expiry[process.pid] = asyncio.get_running_loop().call_later(
                    self._settings.worker_idle_s, self._expire, process
                )
            finally:
                self._busy.discard(process)

    def _take(self) -> Process | None:
        while self._idle:
            process = self._idle.pop()
            if timer := self._expiry.pop(process.pid, None):
                timer.cancel()
            if process.returncode is None:
                return process
        return None

    def _expire(self, process: Process) -> None:
        self._expiry.pop(process.pid, None)
        if process in self._idle:
            self._idle.remove(process)
            assert process.stdin is not None
            process.stdin.close()  # it ends by itself when its input does

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "partage.documents.reading", stdin=PIPE, stdout=PIPE, limit=1 << 20
        )
        assert process.stdin is not None
        process.stdin.write(frame(Setup(self._settings.limits, self._settings.niceness)))
        return process


async def _exchange(process: Process, call: Call) -> Reply:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(frame(call))
    await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    return _replies.decode(await process.stdout.readexactly(length))


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
    # The transport's pipes are closed by it; without this turn of the loop they would be at interpreter exit.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001


def _ending(returncode: int) -> str:
    return signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"
