"""The Docker watch on a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from docker_engine import IMAGE, DockerEngine, mounts

from partage.clock import SystemClock
from partage.watch.docker import DockerWatch

pytestmark = pytest.mark.live

START = ("run", "--detach", "--network", "none", *mounts())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 what happens in another process tells nobody
            await asyncio.sleep(0.02)


async def test_a_real_engine_is_followed_through_start_kill_for_memory_and_end(engine: DockerEngine):
    looking = DockerWatch(engine.socket, SystemClock(), retry_s=(0.05,))

    async def start(*words: str) -> str:
        said = await asyncio.to_thread(engine.docker, *START, *words)
        return said.split()[-1]

    async with looking.running():
        await until(lambda: looking.connected)
        web = await start(
            *("--label", "partage.client=chat", "--name", "web", "--entrypoint", "/usr/bin/sleep", IMAGE, "60")
        )
        await until(lambda: web in looking.containers and looking.containers[web].running)
        assert (looking.containers[web].name, dict(looking.containers[web].labels)) == ("web", {"client": "chat"})

        greedy = await start(
            *("--memory", "16m", "--name", "greedy", "--entrypoint", "/usr/bin/tail", IMAGE, "/dev/zero")
        )
        await until(lambda: greedy in looking.containers and not looking.containers[greedy].running)
        assert looking.containers[greedy].memory_limit_bytes == 16 << 20
        await until(lambda: looking.containers[greedy].now().oom_killed_s is not None)

        await asyncio.to_thread(engine.docker, "rm", "--force", "web", "greedy")
        await until(lambda: web not in looking.containers)
