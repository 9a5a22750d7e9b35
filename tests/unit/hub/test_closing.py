from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from partage.policy.events import PinChanged

from .conftest import CHAT, House, text_of


class OpenHouse(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[House]: ...


async def test_a_pinned_model_does_not_keep_the_hub_from_ending(open_house: OpenHouse):
    async with asyncio.timeout(5), open_house() as house:
        async with asyncio.TaskGroup() as tasks:
            answer = tasks.create_task(text_of(house.admit(CHAT)))
            await house.time.advance(10)
            await answer
        house.hub.post(PinChanged(model=CHAT, pinned=True))
    assert house.started() == [CHAT], "stopped at the end, and not started again"
