from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from partage.domain import Class, Client
from partage.engine.fake import Behaviour, FakeEngine
from partage.errors import InvalidRequest, NotFound
from partage.hub.desk import Desk
from partage.hub.lease import Wish
from partage.json_value import JsonObject
from partage.models.shelves import Shelves
from partage.models.store import Store
from partage.models.workshop import Workshop

from .conftest import CHAT, EMBED, MIB, House, chat, text_of

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


async def test_model_paused_by_hand_is_silent_until_it_is_let_go_and_ends_whole(open_house: OpenHouse):
    async with open_house(cores=1) as house, asyncio.TaskGroup() as tasks:
        house.behaviour = SLOW
        desk = Desk(house.hub, Workshop(Shelves(Store(Path("nowhere")))))
        job = tasks.create_task(text_of(house.admit(CHAT, chat(max_tokens=30), client=JOB)))
        await house.time.advance(2.55)
        (_, engine) = house.engines[0]
        desk.pause(CHAT, paused=True)
        made = engine.tokens_made
        await house.time.advance(60.0)
        assert (engine.paused, engine.tokens_made) == (True, made)
        status = desk.status()
        assert status["paused_by_hand"] == [CHAT]
        assert [(one["state"], one["paused_by_hand"]) for one in cast("list[JsonObject]", status["residents"])] == [
            ("paused", True)
        ]
        desk.pause(CHAT, paused=False)
        await house.pass_time(10.0)
        assert await job == 5 * "Hello from the fake engine."


async def test_holder_of_a_lease_is_told_to_pause_by_hand_and_one_that_waits_cannot_be(open_house: OpenHouse):
    async with open_house(cores=1) as house:
        desk, leases = Desk(house.hub, Workshop(Shelves(Store(Path("nowhere"))))), house.hub.leases
        with leases.held(JOB, Wish(bytes_=500 * MIB)) as held, leases.held(JOB, Wish(bytes_=900 * MIB)) as waiting:
            desk.pause_lease(held.id, paused=True)
            assert [(one["state"], one["paused_by_hand"]) for one in leases.to_json()] == [
                ("paused", True),
                ("waiting", False),
            ]
            assert held.paused
            desk.pause_lease(held.id, paused=False)
            assert not held.paused
            with pytest.raises(InvalidRequest, match="not held yet"):
                desk.pause_lease(waiting.id, paused=True)
            with pytest.raises(NotFound):
                desk.pause_lease("nobody", paused=True)
