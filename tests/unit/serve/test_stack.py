from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator, Mapping
from typing import cast

import pytest

from partage.serve import stack
from partage.serve.stack import Stack, _Keeper

READY = b'{"ready": "http://127.0.0.1:8101"}\n'


class FakeService:
    """A child process that says it is ready, and ends when it is told to."""

    def __init__(self) -> None:
        self.stdout = asyncio.StreamReader()
        self.stdout.feed_data(READY)
        self.returncode: int | None = None
        self.waited_for, self.ended = asyncio.Event(), asyncio.Event()

    async def wait(self) -> int:
        self.waited_for.set()
        await self.ended.wait()
        self.returncode = 0
        return 0

    def send_signal(self, number: int) -> None:
        self.ended.set()


class Keeper(_Keeper):
    """Starts what the test gives it."""

    def __init__(self, children: Iterator[FakeService | OSError]) -> None:
        super().__init__("documents", Stack(), ephemeral_ports=True)
        self.children = children

    async def _spawn(self, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
        child = next(self.children)
        if isinstance(child, OSError):
            raise child
        return cast("asyncio.subprocess.Process", child)


async def test_a_service_that_cannot_be_started_again_just_now_is_tried_again_and_ends_no_other(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(stack, "RESTART_S", (0.0,))
    first, second = FakeService(), FakeService()
    no_process = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    keeper = Keeper(iter([first, no_process, OSError(errno.ENOSPC, "No space left on device"), second]))
    await keeper.start({})
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(keeper.keep({}))
        first.ended.set()
        await second.waited_for.wait()
        keeping.cancel()
    assert second.returncode == 0
