from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from partage.engine.fake import settle
from partage.errors import ModelNotFound
from partage.hub.desk import Desk
from partage.hub.stats import Stats
from partage.models.create import Recipe
from partage.models.progress import PullProgress
from partage.models.shelves import Shelves
from partage.models.store import Store
from partage.models.workshop import Workshop

from .conftest import CHAT, MIB, FakeLibrary, House, chat, text_of


class OpenHouse(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[House]: ...


NO_MODELS = Workshop(Shelves(Store(Path("nowhere"))))


class Renamer(Workshop):
    """Makes a model by putting one into the fake library."""

    def __init__(self, house: House, **changes: str) -> None:
        super().__init__(NO_MODELS.shelves)
        self._house = house
        self._changes = changes

    async def create(self, name: str, recipe: Recipe) -> AsyncGenerator[PullProgress, None]:
        yield PullProgress("writing manifest")
        library = cast("FakeLibrary", self._house.hub.library)
        library.models[name] = replace(library.models[name], **self._changes)


@pytest.mark.parametrize(
    ("changes", "left"),
    [({"chat_template": "{{ messages }}"}, 0), ({"path": "/other"}, 0), ({"system": "Be kind."}, 1)],
)
async def test_a_model_that_was_made_anew_leaves_memory_only_if_its_engine_would_be_another(
    open_house: OpenHouse, changes: dict[str, str], left: int
):
    async with open_house() as house:
        ticket = house.admit(CHAT)
        await house.pass_time(2)
        await ticket.stream().aclose()
        async for _ in Desk(house.hub, Renamer(house, **changes)).create(CHAT, Recipe(base=CHAT)):
            pass
        await house.pass_time(2)
        assert len(house.hub.residents.running) == left


async def test_status_tells_what_every_resident_holds_by_device_and_part(open_house: OpenHouse):
    async with open_house() as house:
        ticket = house.admit(CHAT)
        await house.pass_time(2)
        status = cast("Any", Desk(house.hub, NO_MODELS).status())
        (memory,) = status["residents"][0]["memory"]
        assert (memory["device"], memory["weights_bytes"]) == ("host", 100 * MIB)
        assert (memory["kv_bytes"], memory["compute_bytes"], memory["overhead_bytes"]) == (0, 0, 0)
        assert memory["held_bytes"] == status["residents"][0]["ledger_bytes"]
        assert status["stays"][0]["engine"] == status["residents"][0]["engine"]
        assert status["now_s"] >= status["stays"][0]["started_s"]
        await ticket.stream().aclose()


async def test_a_clients_row_says_what_it_has_waiting_and_in_service(open_house: OpenHouse):
    async with open_house() as house:
        tickets = [house.admit(CHAT) for _ in range(3)]
        await house.pass_time(2)
        (row,) = cast("Any", Desk(house.hub, NO_MODELS).status())["clients"]
        assert (row["serving"], row["queued"]) == (2, 1)
        assert row["served_s"] >= 0
        for ticket in tickets:
            await ticket.stream().aclose()


async def test_tokens_count_while_the_answer_grows_and_once_in_all(open_house: OpenHouse):
    async with open_house() as house:
        ticket = house.admit(CHAT, chat(max_tokens=200))
        answer = ticket.stream()
        await house.pass_time(2)
        assert house.hub.stats.clients["someone"].streamed_tokens == 0
        ticket._output_tokens = 63
        ticket.count_output()
        assert house.hub.stats.clients["someone"].streamed_tokens == 64
        await answer.aclose()
        assert house.hub.stats.clients["someone"].streamed_tokens == 64
        assert house.hub.stats._growing == {}


async def test_a_served_answer_counts_as_many_streamed_tokens_as_output_tokens(open_house: OpenHouse):
    async with open_house() as house:
        ticket = house.admit(CHAT)
        async with asyncio.TaskGroup() as tasks:
            answer = tasks.create_task(text_of(ticket))
            await house.pass_time(10)
            await answer
        stats: Stats = house.hub.stats
        assert stats.clients["someone"].streamed_tokens == stats.clients["someone"].output_tokens > 0


async def test_a_delete_that_waits_for_the_store_holds_up_nobody(
    open_house: OpenHouse, monkeypatch: pytest.MonkeyPatch
):
    """Another process may have the store's lock for as long as it hashes a model."""
    lock_is_free = threading.Event()

    def remove(library: FakeLibrary, name: str) -> None:
        assert lock_is_free.wait(5), "the event loop stands still"
        del library.models[name]

    monkeypatch.setattr(FakeLibrary, "remove", remove)
    async with open_house() as house, asyncio.TaskGroup() as tasks:
        deleting = tasks.create_task(Desk(house.hub, NO_MODELS).delete(CHAT))
        await settle()
        lock_is_free.set()
        await deleting
        with pytest.raises(ModelNotFound):
            house.admit(CHAT)
