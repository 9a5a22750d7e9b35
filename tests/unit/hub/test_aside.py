from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from partage.domain import Client
from partage.engine.fake import settle
from partage.errors import PartageError
from partage.hub.desk import Desk
from partage.hub.journal import Journal as JournalFile
from partage.hub.ports import Journal
from partage.hub.ticket import Ticket
from partage.journal_format import parse_lines
from partage.policy.events import PauseAsked, PinChanged
from partage.policy.settings import PolicySettings
from partage.sim.replay import replay

from .conftest import CHAT, EMBED, MIB, SLOW, House, chat, text_of
from .test_parking import NO_MODELS, ON_GPU, SETTINGS, FakeDriver, OpenHouse, SlowDriver, answers, said_of, states


@asynccontextmanager
async def flooded(
    open_house: OpenHouse, driver: FakeDriver, *, whole: bool = False, journal: Journal | None = None
) -> AsyncGenerator[tuple[House, Task[str], Task[str]]]:
    """The house, an answer of a flood that has begun, and another client's for whose model it must make room."""
    async with open_house(
        gpu_bytes=1000 * MIB, placements=(ON_GPU,), settings=SETTINGS, checkpoint=driver, journal=journal
    ) as house:
        house.behaviour = replace(SLOW, pid=4711, load_s=5.0, repeat_answer=True)
        for name in ("one", "two", "three", "four", "five"):
            await answers(house, CHAT, name)
        async with asyncio.TaskGroup() as tasks:
            flood = house.admit(CHAT, chat(max_tokens=600), client=Client(name="flood"))
            long = tasks.create_task(told(flood, whole=whole))
            await house.pass_time(3.0)
            house.behaviour = replace(SLOW, pid=4712, load_s=5.0)
            yield house, long, tasks.create_task(told(house.admit(EMBED)))


async def told(ticket: Ticket, *, whole: bool = False) -> str:
    """What its client gets: a text, or an error."""
    try:
        return await text_of(ticket, whole=whole)
    except PartageError as error:
        return f"{type(error).__name__}: {error.message}"


async def passes_until(house: House, driver: FakeDriver, seen: Callable[[], bool]) -> None:
    """On the hub's clock, which stands still while a thread copies, unless that is held."""
    async with asyncio.timeout(20):
        while (copies := copying() and not driver.held) or not seen():
            await (settle() if copies else house.pass_time(0.5))


def copying() -> bool:
    return any(task.get_name().startswith(("park ", "unpark ")) for task in asyncio.all_tasks())


async def test_an_answer_of_a_flood_falls_silent_while_another_is_served_and_then_goes_on_where_it_was(
    open_house: OpenHouse,
):
    driver = FakeDriver()
    async with flooded(open_house, driver) as (house, long, other):
        chatting = house.engines[0][1]
        await passes_until(house, driver, lambda: 4711 in driver.parked)
        assert (chatting.paused, states(house)[CHAT], long.done()) == (True, "parked", False)
        assert said_of(house, CHAT) == ("parked", "in mid-answer")
        made = chatting.tokens_made
        await house.pass_time(1.0)
        assert chatting.tokens_made == made
        await passes_until(house, driver, lambda: other.done() and long.done())
        assert chatting.tokens_made > made
        assert house.started() == [CHAT, EMBED], "nothing of it was lost"


async def test_an_answer_of_a_flood_that_cannot_be_parked_goes_on_and_the_other_waits_for_its_end(
    open_house: OpenHouse,
):
    driver = FakeDriver(refuses={"park"})
    async with flooded(open_house, driver) as (house, long, other):
        await passes_until(house, driver, lambda: "park" in driver.calls)
        assert not house.engines[0][1].paused
        await passes_until(house, driver, other.done)
        assert long.done()


async def test_who_leaves_while_his_answer_is_in_ram_is_not_waited_for(open_house: OpenHouse):
    driver = FakeDriver()
    async with flooded(open_house, driver) as (house, long, other):
        await passes_until(house, driver, lambda: 4711 in driver.parked)
        long.cancel()
        await passes_until(house, driver, other.done)
        assert house.hub.scheduler.residents_view()[-1].serving == 0
        await answers(house, CHAT)
        assert house.started() == [CHAT, EMBED]


async def test_an_engine_that_dies_in_ram_in_mid_answer_tells_its_client_and_frees_the_ram(open_house: OpenHouse):
    driver = FakeDriver()
    async with flooded(open_house, driver) as (house, long, other):
        await passes_until(house, driver, lambda: 4711 in driver.parked)
        house.engines[0][1].crash()
        await passes_until(house, driver, other.done)
        assert long.result() == "EngineCrashed: fake engine: ended while it was serving this request"
        assert house.hub.scheduler.tier_view().held_bytes == 0


async def test_an_answer_that_cannot_be_brought_back_ends_with_an_error_that_says_why(open_house: OpenHouse):
    driver = FakeDriver(refuses={"unpark"})
    async with flooded(open_house, driver) as (house, long, other):
        await passes_until(house, driver, lambda: long.done() and other.done())
        assert long.result().endswith("it could not be brought back from RAM: out of memory")


async def kept_from_coming_back(house: House, driver: FakeDriver, other: Task[str]) -> None:
    """Its answer is in RAM, and who took its place stays."""
    await passes_until(house, driver, lambda: 4711 in driver.parked)
    house.hub.post(PinChanged(model=EMBED, pinned=True))
    await passes_until(house, driver, other.done)


async def test_an_answer_that_nothing_made_room_for_ends_with_an_error_that_says_why(open_house: OpenHouse):
    driver = FakeDriver()
    async with flooded(open_house, driver) as (house, long, other):
        await kept_from_coming_back(house, driver, other)
        await house.pass_time(40.0)
        assert not long.done()
        await passes_until(house, driver, long.done)
        assert long.result() == (
            "EngineCrashed: the hub ended the model server: it was set aside for others, who left it no room for 60 s"
        )
        assert house.hub.scheduler.tier_view().held_bytes == 0


async def test_an_answer_that_nobody_has_seen_a_piece_of_begins_anew_where_nothing_made_room_for_it(
    open_house: OpenHouse,
):
    driver = FakeDriver()
    async with flooded(open_house, driver, whole=True) as (house, long, other):
        await kept_from_coming_back(house, driver, other)
        await house.pass_time(61.0)
        assert (house.held(), driver.calls) == ((1, 0), ["park"])
        house.behaviour = replace(SLOW, pid=4713, load_s=5.0, repeat_answer=True)
        house.hub.post(PinChanged(model=EMBED, pinned=False))
        await passes_until(house, driver, long.done)
        assert long.result() == 100 * "Hello from the fake engine."
        assert house.started() == [CHAT, EMBED, CHAT]


@pytest.mark.parametrize(("whole", "error"), [(False, "its model was deleted"), (True, "ModelNotFound")])
async def test_a_model_that_is_deleted_while_its_answer_is_in_ram_tells_its_client(
    open_house: OpenHouse, whole: bool, error: str
):
    driver = FakeDriver()
    async with flooded(open_house, driver, whole=whole) as (house, long, other):
        await passes_until(house, driver, lambda: 4711 in driver.parked)
        await Desk(house.hub, NO_MODELS).delete(CHAT)
        await passes_until(house, driver, lambda: long.done() and other.done())
        assert error in long.result()
        assert (house.hub.scheduler.tier_view().held_bytes, house.held()) == (0, (0, 0))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("moment", ["parking", "parked", "unparking"])
async def test_a_hub_that_ends_while_an_answer_is_in_ram_tells_its_client_and_ends(
    open_house: OpenHouse, moment: str, whole: bool
):
    driver = SlowDriver(stays_in=moment)
    async with flooded(open_house, driver, whole=whole) as (house, long, other):
        await passes_until(house, driver, lambda: 4711 in driver.parked)
        if moment == "unparking":
            await passes_until(house, driver, lambda: driver.calls == ["park", "park", "unpark"])
        house.hub.close()
        driver.go_on.set()
        await passes_until(house, driver, lambda: long.done() and other.done())
        assert "the server is shutting down" in long.result().lower()
    assert all(engine._exit is not None for _, engine in house.engines)


async def test_a_journal_of_an_answer_that_was_set_aside_comes_to_the_same_decisions_again(
    open_house: OpenHouse, tmp_path: Path
):
    driver = FakeDriver()
    with JournalFile(tmp_path / "journal.jsonl", 1 << 20) as journal:
        async with flooded(open_house, driver, journal=journal) as (house, long, other):
            await passes_until(house, driver, lambda: other.done() and long.done())
    found = replay(parse_lines((tmp_path / "journal.jsonl").read_bytes().splitlines()), PolicySettings())
    assert driver.calls == ["park", "park", "unpark"]
    assert found.events > 100
    assert not found.differences


@pytest.mark.parametrize("moment", ["parking", "parked", "unparking"])
async def test_what_is_paused_by_hand_while_its_answer_is_on_its_way_to_ram_there_or_back_is_silent_until_it_is_let_go(
    open_house: OpenHouse, moment: str
):
    driver = SlowDriver(stays_in=moment)
    async with flooded(open_house, driver) as (house, long, other):
        engine = house.engines[0][1]
        await passes_until(house, driver, lambda: 4711 in driver.parked)
        if moment == "unparking":
            await passes_until(house, driver, driver.inside.is_set)
        house.hub.post(PauseAsked(model=CHAT, paused=True))
        driver.go_on.set()
        await passes_until(house, driver, lambda: other.done() and engine.paused)
        made = engine.tokens_made
        await house.pass_time(100.0)
        assert (engine.paused, engine.tokens_made, long.done()) == (True, made, False)
        assert "by hand" in str(said_of(house, CHAT)[1])
        house.hub.post(PauseAsked(model=CHAT, paused=False))
        await passes_until(house, driver, long.done)
        assert long.result() == 100 * "Hello from the fake engine."
