from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from partage.domain import Class, Client
from partage.engine.fake import Behaviour, FakeEngine
from partage.hub.desk import Desk
from partage.models.shelves import Shelves
from partage.models.store import Store
from partage.models.workshop import Workshop

from .conftest import CHAT, EMBED, House, chat, text_of

OpenHouse = Callable[..., AbstractAsyncContextManager[House]]
JOB, PERSON = Client(name="job", class_=Class.BATCH), Client(name="ana", class_=Class.INTERACTIVE)
SLOW = Behaviour(load_s=1.0, prompt_tokens_per_s=2.0, tokens_per_s=10, repeat_answer=True)


@asynccontextmanager
async def person_beside_job(
    open_house: OpenHouse,
) -> AsyncGenerator[tuple[House, FakeEngine, asyncio.Task[str], asyncio.Task[str]]]:
    """The job has computed for a while, and has just been paused for the person, who takes one second."""
    async with open_house(cores=1) as house, asyncio.TaskGroup() as tasks:
        house.behaviour = SLOW
        job = tasks.create_task(text_of(house.admit(CHAT, chat(max_tokens=30), client=JOB)))
        await house.time.advance(2.55)
        (_, engine) = house.engines[0]
        assert (engine.tokens_made, engine.paused) == (5, False)
        person = tasks.create_task(text_of(house.admit(EMBED, client=PERSON)))
        await house.time.advance(1.5)
        yield house, engine, job, person


async def test_batch_work_is_silent_while_a_person_is_served_and_ends_whole(open_house: OpenHouse):
    async with person_beside_job(open_house) as (house, engine, job, person):
        assert engine.paused
        assert engine.tokens_made == 15
        desk = Desk(house.hub, Workshop(Shelves(Store(Path("nowhere")))))
        assert [one.state for one in desk.residents()] == ["paused", "ready"]
        await house.time.advance(0.4)
        assert engine.tokens_made == 15
        await house.pass_time(5.0)
        assert person.done()
        assert await job == 5 * "Hello from the fake engine."


async def test_client_that_leaves_a_paused_engine_frees_its_slot(open_house: OpenHouse):
    async with person_beside_job(open_house) as (house, engine, job, _):
        job.cancel()
        await house.time.advance(0)
        assert not engine.paused
        assert (engine.streaming, house.held()) == (0, (0, 1))
        await house.pass_time(5.0)


async def test_hub_that_ends_takes_paused_engines_with_it(open_house: OpenHouse):
    async with person_beside_job(open_house) as (_, engine, *clients):
        assert engine.paused
        for one in clients:
            one.cancel()
    assert (await engine.wait_gone()).asked_for
