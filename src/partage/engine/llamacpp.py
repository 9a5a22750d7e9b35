"""llama.cpp as a child: started from the built-in library or a llama-server binary, on a unix socket of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Generator, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec
import psutil

from partage.clock import Clock, SystemClock
from partage.domain import DeviceId
from partage.engine.base import EngineExit, Loaded
from partage.engine.child_connection import ChildConnection
from partage.engine.ending import OUT_OF_MEMORY, in_words, oom_kills
from partage.engine.launch import arguments, batch_tokens, environment, parameters
from partage.engine.log import buffer_bytes
from partage.engine.process import Child, spawn
from partage.engine.spec import HOST, LaunchSpec
from partage.engine.upstream import Upstream
from partage.engine.workers import Workers
from partage.errors import EngineCrashed, EngineError, EngineOutOfMemory, EngineStartFailed
from partage.work import Output, Work

LONGEST_SOCKET_PATH = 107
HEALTH_POLL_S = 0.01
LAST_WORDS_S = 1.0
LOG_LINES_IN_MESSAGES = 8


class LlamaCpp:
    """One llama.cpp server of ours. Its socket lies in a directory that only this user can enter."""

    def __init__(self, spec: LaunchSpec, workers: Workers | None = None, clock: Clock | None = None) -> None:
        self._spec = spec
        self._clock = clock or SystemClock()
        self._workers = workers or Workers(self._clock)
        self._asked_to_stop = False
        self._child: Child | None = None
        self._connection: ChildConnection | None = None
        self._upstream: Upstream | None = None
        self._oom_kills = oom_kills()
        self._settled = asyncio.Event()
        """There is a child by now, or there never will be one."""
        self._open = contextlib.AsyncExitStack()
        """The socket's directory and the connection."""

    async def start(self) -> Loaded:
        began_s = self._clock.now_s()
        try:
            async with asyncio.timeout(self._spec.start_timeout_s):
                return await self._start(began_s)
        except (EngineError, OSError) as error:  # TimeoutError is an OSError
            await self._end(0.0)
            raise self._start_failure(error) from error
        except BaseException:
            await self._end(0.0)
            raise

    async def _start(self, began_s: float) -> Loaded:
        spec, settings = self._spec, self._spec.settings
        directory = self._open.enter_context(private_directory(spec.run_dir))
        socket_path = str(directory / "e.sock")
        key = secrets.token_urlsafe(24)
        if spec.llama_server is None:
            child = await self._adopt(self._workers.get(environment(settings.threads, spec.devices)))
            orders = {"writes_bytes": spec.writes_bytes, "parameters": parameters(spec, socket_path, key)}
            child.say(msgspec.json.encode(orders), last=True)
            if await child.wait_line() is None:
                raise EngineStartFailed
        else:
            key_path = directory / "key"
            key_path.write_text(key)
            variables = environment(settings.threads, spec.devices)
            tether = [
                sys.executable,
                "-m",
                "partage.worker.tether",
                str(os.getpid()),
                "--stdout-is-log",
                *(f"{name}={value}" for name, value in variables.items()),
                "--",
            ]
            child = await self._adopt(spawn([*tether, spec.llama_server, *arguments(spec, socket_path, str(key_path))]))
        connection = ChildConnection(socket_path, key=key, idle_timeout_s=spec.idle_timeout_s)
        self._open.push_async_callback(connection.close)
        if spec.llama_server is not None:
            await poll_health(connection, child)
        upstream = Upstream(connection, strict_grammar=spec.llama_server is None)
        properties = await upstream.read_properties()
        upstream.longest_input_tokens = min(properties.context_tokens, batch_tokens(spec)[1])
        self._connection, self._upstream = connection, upstream
        return Loaded(
            load_s=self._clock.now_s() - began_s,
            measured_bytes=self._measured_bytes(child),
            context_tokens=properties.context_tokens,
            slots=properties.total_slots,
            pid=child.pid,
        )

    async def stream(self, work: Work) -> AsyncGenerator[Output, None]:
        assert self._upstream is not None, "stream() before start() returned"
        try:
            async with aclosing(self._upstream.stream(work)) as outputs:
                async for output in outputs:
                    yield output
        except EngineCrashed as error:
            raise EngineCrashed(await self._last_words(error.message)) from error

    def pause(self) -> None:
        if self._child is not None and self._connection is not None:
            self._child.pause()
            self._connection.pause()

    def resume(self) -> None:
        if self._child is not None and self._connection is not None:
            self._child.resume()
            self._connection.resume()

    async def stop(self, grace_s: float) -> None:
        self._asked_to_stop = True
        await self._end(grace_s)

    async def wait_gone(self) -> EngineExit:
        await self._settled.wait()
        if self._child is None:
            return EngineExit(returncode=None, asked_for=self._asked_to_stop)
        returncode = await self._child.wait_gone()
        await self._open.aclose()
        tail = self._child.log.tail()
        if returncode == -signal.SIGKILL and self._killed_for_memory():
            tail = (*tail, OUT_OF_MEMORY)  # what the hub logs of an end that nobody asked for
        return EngineExit(returncode=returncode, asked_for=self._asked_to_stop, log_tail=tail)

    async def _adopt(self, started: Awaitable[Child]) -> Child:
        self._child = child = await started
        self._settled.set()
        if self._asked_to_stop:
            child.kill()
        return child

    async def _end(self, grace_s: float) -> None:
        if self._child is not None:
            await self._child.end(grace_s)
        self._settled.set()
        await self._open.aclose()

    def _start_failure(self, error: Exception) -> EngineStartFailed:
        name = self._spec.id
        if self._asked_to_stop:
            return EngineStartFailed(f"{name} was stopped while it started")
        if isinstance(error, TimeoutError):
            return EngineStartFailed(f"{name} was not ready after {self._spec.start_timeout_s:g} s")
        if self._child is None:
            return EngineStartFailed(f"{name} could not be started: {error}")
        log = self._child.log
        killed = self._child.returncode == -signal.SIGKILL  # not by us: most likely by the kernel, for memory
        reason = "it was killed while it loaded (SIGKILL)" if killed else log.reason()
        if killed and self._killed_for_memory():
            reason = OUT_OF_MEMORY
        message = f"{name} did not start: {reason}" + indented(log.complaints())
        return EngineOutOfMemory(message) if log.out_of_memory or killed else EngineStartFailed(message)

    async def _last_words(self, what: str) -> str:
        assert self._child is not None
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                returncode = await self._child.wait_gone()
        except TimeoutError:
            return f"{self._spec.id}: {what}"
        how = in_words(returncode, killed_for_memory=self._killed_for_memory())
        return f"{self._spec.id}: {what} ({how})" + indented(self._child.log.complaints())

    def _killed_for_memory(self) -> bool:
        """The kernel has killed somebody since we began, and we did not ask for this end."""
        return oom_kills() > self._oom_kills and not self._asked_to_stop

    def _measured_bytes(self, child: Child) -> tuple[tuple[DeviceId, int], ...]:
        """Weigh it, per device of the spec.

        On a GPU: the buffers in llama.cpp's log; what the driver takes for the process comes on top, and is the hub's to
        measure (hub/weighing.py). On the host, where pages count when they are touched: the process's own pages, the mapped
        weights (they must stay for it to be quick), and what it is yet to touch: compute buffers and the prompt cache up to
        its limit.
        """
        buffers = child.log.buffers
        if not buffers:
            return ()
        measured: list[tuple[DeviceId, int]] = []
        gpus = 0
        for device in self._spec.devices:
            if device == HOST:
                size = own_bytes(child.pid) + buffer_bytes(buffers, "CPU_Mapped")
                size += buffer_bytes(buffers, "CPU", "compute") + self._spec.settings.prompt_cache_bytes
            else:
                size = buffer_bytes(buffers, f"CUDA{gpus}")
                gpus += 1
            measured.append((device, size))
        return tuple(measured)


async def poll_health(connection: ChildConnection, child: Child) -> None:
    """Wait for a llama-server, which says nothing when it is ready. Raises EngineStartFailed when it ends."""
    while child.returncode is None:
        try:
            await connection.get("/health")
        except EngineError:
            await asyncio.sleep(HEALTH_POLL_S)
        else:
            return
    await child.wait_gone()
    raise EngineStartFailed


def own_bytes(pid: int) -> int:
    """Pages in memory that no file can give back. Raises EngineCrashed when the process is gone."""
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error as error:
        raise EngineCrashed("it ended when it was just ready") from error
    return memory.rss - memory.shared


@contextlib.contextmanager
def private_directory(parent: str) -> Generator[Path]:
    """Make a directory for this user alone, under `parent` where a socket's path can be that long."""
    Path(parent).mkdir(mode=0o700, parents=True, exist_ok=True)
    fits = len(os.fsencode(parent)) + len("/engine-12345678/e.sock") <= LONGEST_SOCKET_PATH
    with tempfile.TemporaryDirectory(prefix="engine-", dir=parent if fits else None) as path:
        yield Path(path)


def indented(lines: Sequence[str]) -> str:
    return "".join(f"\n  {line}" for line in lines[-LOG_LINES_IN_MESSAGES:])
