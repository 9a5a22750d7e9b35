"""Starts hub, documents, rag (and the dashboard) as processes of their own, restarts what falls, and stops them all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from partage.errors import ConfigError

log = logging.getLogger(__name__)

SERVICES = ("hub", "documents", "rag")
"""Those of the demo, which does without the dashboard."""
START_TIMEOUT_S = 60.0
STOP_GRACE_S = 8.0
RESTART_S = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Pauses before the first, second ... restart in a row."""
STEADY_S = 60.0
"""A service that ran so long starts counting anew."""


@dataclass(slots=True)
class Service:
    name: str
    process: asyncio.subprocess.Process
    url: str = ""


@dataclass(slots=True)
class Stack:
    """A running stack: where its services are, and the keys they know their callers by."""

    urls: dict[str, str] = field(default_factory=dict[str, str])
    keys: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    logs: Path | None = None
    began: dict[str, int] = field(default_factory=dict[str, int], repr=False)
    """How long each log was when its service was last started: what stands before is of other days."""

    def tail(self, service: str, lines: int = 15) -> str:
        """The last lines a service logged, where logs go to files."""
        if self.logs is None:
            return ""
        with contextlib.suppress(OSError):
            text = (self.logs / f"{service}.log").read_bytes()[self.began.get(service, 0) :]
            return "\n".join(text.decode("utf-8", errors="replace").splitlines()[-lines:])
        return ""


@asynccontextmanager
async def running_stack(
    home: Path,
    *,
    services: Sequence[str] = SERVICES,
    config: Path | None = None,
    ephemeral_ports: bool = False,
    log_to_files: bool = False,
) -> AsyncGenerator[Stack]:
    """All services, ready, while inside. Nothing is left behind, by whatever road it is left.

    Each child is tied to this process: the kernel ends it when we are killed. Raises ConfigError when one does not start.
    """
    stack = Stack(
        keys={name: secrets.token_urlsafe(24) for name in ("chat", "documents", "rag", "dashboard", "admin")},
        logs=home / "logs" if log_to_files else None,
    )
    environment = {f"PARTAGE_KEY_{name.upper()}": key for name, key in stack.keys.items()}
    environment["PARTAGE_HOME"] = str(home)
    if config is not None:
        environment["PARTAGE_CONFIG"] = str(config)
    async with asyncio.TaskGroup() as tasks:
        keepers: list[asyncio.Task[None]] = []
        try:
            for name in services:
                keeper = _Keeper(name, stack, ephemeral_ports=ephemeral_ports)
                stack.urls[name] = await keeper.start(environment)
                environment[f"PARTAGE_{name.upper()}_URL"] = stack.urls[name]
                keepers.append(tasks.create_task(keeper.keep(dict(environment)), name=f"keep {name}"))
            yield stack
        finally:
            for task in reversed(keepers):  # customers first, the hub last
                task.cancel()


class _Keeper:
    def __init__(self, name: str, stack: Stack, *, ephemeral_ports: bool) -> None:
        self._name = name
        self._stack = stack
        self._port = 0 if ephemeral_ports else None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, environment: Mapping[str, str]) -> str:
        """Start it and wait until it listens; its URL. Raises ConfigError with its last words."""
        process = self._process = await self._spawn(environment)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await process.stdout.readline()
            url = str(json.loads(line)["ready"])
        except (TimeoutError, ValueError, KeyError):
            await self._end()
            words = self._stack.tail(self._name)
            raise ConfigError(f"{self._name} did not start{': ' + words if words else ''}") from None
        except BaseException:
            await self._end()
            raise
        self._port = int(url.rsplit(":", 1)[1])  # where its customers know it: a restart must listen there again
        return url

    async def keep(self, environment: Mapping[str, str]) -> None:
        """Restart it whenever it ends, until cancelled."""
        loop, falls = asyncio.get_running_loop(), 0
        try:
            while True:
                began_s = loop.time()
                assert self._process is not None
                status = await self._process.wait()
                falls = 0 if loop.time() - began_s > STEADY_S else falls + 1
                pause_s = RESTART_S[min(falls, len(RESTART_S)) - 1] if falls else RESTART_S[0]
                log.warning("%s ended with status %s; starting it again in %.1f s", self._name, status, pause_s)
                await asyncio.sleep(pause_s)
                try:
                    await self.start(environment)
                except (ConfigError, OSError) as error:  # OSError: no process or no log file can be made just now
                    log.warning("%s: %s", self._name, error)
        finally:
            await self._end()

    async def _spawn(self, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "partage", self._name, "--announce"]
        if self._port is not None:
            command += ["--port", str(self._port)]
        with self._log_file() as stderr:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "partage.worker.tether",
                str(os.getpid()),
                "--",
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is ours to pass on, in order
                env={**_inherited(), **environment},
            )

    @contextlib.contextmanager
    def _log_file(self):  # noqa: ANN202 Generator[BinaryIO | None]
        if self._stack.logs is None:
            yield None
            return
        self._stack.logs.mkdir(parents=True, exist_ok=True)
        with (self._stack.logs / f"{self._name}.log").open("ab") as file:
            self._stack.began[self._name] = file.tell()
            yield file

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_GRACE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
            except BaseException:
                process.kill()
                raise
        await process.wait()


def _inherited() -> Mapping[str, str]:
    return os.environ  # noqa: TID251 passed on to our own services, not read
