"""Runs a task beside a generator that tells of its progress.

A task group cannot: an async generator may be closed at any `yield`, and a group turns that into an exception group.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")

TICK_S = 0.2


@asynccontextmanager
async def alongside(work: Coroutine[None, None, T]) -> AsyncGenerator[asyncio.Task[T]]:
    """The task is over when the block is left; ask it for its result inside."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # whoever wanted to know has asked inside


async def wait_thread(function: Callable[..., T], *arguments: object) -> T:
    """As asyncio.to_thread, but over only when the thread is: what it works on must not be closed under it."""
    work = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


async def wait_a_tick(task: asyncio.Task[T]) -> None:
    await asyncio.wait({task}, timeout=TICK_S)
