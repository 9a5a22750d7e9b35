from __future__ import annotations

import asyncio
import threading
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, cast

import pytest

from partage.domain import Client, Footprint, LaunchSettings, Placement
from partage.engine.fake import settle
from partage.errors import ParkFailed
from partage.hub.desk import Desk
from partage.hub.ports import Journal
from partage.hub.residents import Checkpoint
from partage.json_value import JsonObject, JsonValue
from partage.models.shelves import Shelves
from partage.models.store import Store
from partage.models.workshop import Workshop
from partage.policy.settings import PolicySettings

from .conftest import CHAT, EMBED, MIB, SLOW, House, text_of

NO_MODELS = Workshop(Shelves(Store(Path("nowhere"))))
ON_GPU = Placement(
    settings=LaunchSettings(context_tokens=4096, slots=2, threads=0),
    shares=(("gpu", Footprint(weights_bytes=600 * MIB)),),
)
SETTINGS = PolicySettings(park_budget_bytes=1300 * MIB)


class OpenHouse(Protocol):
    def __call__(
        self,
        *,
        gpu_bytes: int = ...,
        placements: tuple[Placement, ...] = ...,
        settings: PolicySettings | None = ...,
        checkpoint: Checkpoint | None = ...,
        journal: Journal | None = ...,
    ) -> AbstractAsyncContextManager[House]: ...


@dataclass
class FakeDriver:
    """Moves processes that exist, and refuses what it is told to refuse."""

    refuses: set[str] = field(default_factory=set[str])
    parked: set[int] = field(default_factory=set[int])
    calls: list[str] = field(default_factory=list[str])

    @property
    def held(self) -> bool:
        return False

    def park(self, pid: int) -> None:
        assert pid not in self.parked
        self.calls.append("park")
        if "park" in self.refuses:
            raise ParkFailed("unified memory")
        self.parked.add(pid)

    def unpark(self, pid: int) -> None:
        assert pid in self.parked
        self.calls.append("unpark")
        if "unpark" in self.refuses:
            raise ParkFailed("out of memory")
        self.parked.discard(pid)


@dataclass
class SlowDriver(FakeDriver):
    """Stays inside one kind of copy until it is let go."""

    stays_in: str = ""
    inside: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def held(self) -> bool:
        return self.inside.is_set() and not self.go_on.is_set()

    def park(self, pid: int) -> None:
        super().park(pid)
        self._stay("parking")

    def unpark(self, pid: int) -> None:
        super().unpark(pid)
        self._stay("unparking")

    def _stay(self, doing: str) -> None:
        if doing == self.stays_in:
            self.stays_in = ""
            self.inside.set()
            assert self.go_on.wait(10)


async def answers(house: House, model: str, client: str = "someone") -> None:
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(text_of(house.admit(model, client=Client(name=client))))
        async with asyncio.timeout(10):
            while not asked.done():
                await house.pass_time(0.5)  # copies run in threads: real time passes between
                await asyncio.sleep(0)


def states(house: House) -> dict[str, str]:
    return {view.model: view.phase for view in house.hub.scheduler.residents_view()}


def said_of(house: House, model: str) -> tuple[JsonValue, JsonValue]:
    residents = cast("list[JsonObject]", Desk(house.hub, NO_MODELS).status()["residents"])
    return next((one["state"], one["how"]) for one in residents if one["model"] == model)


async def test_a_model_that_makes_room_is_moved_to_ram_and_answers_again_without_a_load(open_house: OpenHouse):
    driver = FakeDriver()
    async with open_house(gpu_bytes=1000 * MIB, placements=(ON_GPU,), settings=SETTINGS, checkpoint=driver) as house:
        house.behaviour = replace(SLOW, pid=4711, load_s=5.0)
        await answers(house, CHAT)
        house.behaviour = replace(SLOW, pid=4712, load_s=5.0)
        await answers(house, EMBED)
        assert states(house) == {CHAT: "parked", EMBED: "ready"}
        assert said_of(house, CHAT) == ("parked", "")
        assert not house.engines[0][1].paused, "nobody waits for an answer of it"
        assert house.hub.scheduler.tier_view().held_bytes == 600 * MIB
        shown = {
            one.model.name: (one.state, one.size_bytes, one.device_bytes)
            for one in Desk(house.hub, NO_MODELS).residents()
        }
        assert shown == {CHAT: ("parked", 600 * MIB, 0), EMBED: ("ready", 600 * MIB, 600 * MIB)}
        await answers(house, CHAT)
        assert house.started() == [CHAT, EMBED]
        assert driver.calls == ["park", "park", "unpark"]
        assert states(house) == {CHAT: "ready", EMBED: "parked"}
    assert all(engine._exit is not None for _, engine in house.engines), "also the parked one ended"


async def test_what_cannot_be_parked_is_stopped(open_house: OpenHouse):
    driver = FakeDriver(refuses={"park"})
    async with open_house(gpu_bytes=1000 * MIB, placements=(ON_GPU,), settings=SETTINGS, checkpoint=driver) as house:
        house.behaviour = replace(SLOW, pid=4711, load_s=5.0)
        await answers(house, CHAT)
        await answers(house, EMBED)
        assert states(house) == {EMBED: "ready"}
        assert house.hub.scheduler.tier_view().held_bytes == 0


async def test_what_cannot_be_brought_back_is_ended_and_loaded_and_its_client_only_waits_longer(open_house: OpenHouse):
    driver = FakeDriver(refuses={"unpark"})
    async with open_house(gpu_bytes=1000 * MIB, placements=(ON_GPU,), settings=SETTINGS, checkpoint=driver) as house:
        house.behaviour = replace(SLOW, pid=4711, load_s=5.0)
        await answers(house, CHAT)
        house.behaviour = replace(SLOW, pid=4712, load_s=5.0)
        await answers(house, EMBED)
        await answers(house, CHAT)
        assert "unpark" in driver.calls
        assert house.started() == [CHAT, EMBED, CHAT]


@pytest.mark.parametrize("moment", ["parking", "parked", "unparking"])
async def test_an_engine_that_is_killed_on_its_way_to_ram_there_or_back_leaves_nothing_behind(
    open_house: OpenHouse, moment: str
):
    driver = SlowDriver(stays_in=moment)
    async with open_house(gpu_bytes=1000 * MIB, placements=(ON_GPU,), settings=SETTINGS, checkpoint=driver) as house:
        house.behaviour = replace(SLOW, pid=4711, load_s=5.0)
        await answers(house, CHAT)
        house.behaviour = replace(SLOW, pid=4712, load_s=5.0)
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(answers(house, EMBED))]
            if moment != "parking":
                await asked[0]
                house.behaviour = replace(SLOW, pid=4713, load_s=5.0)
            if moment == "unparking":
                asked.append(tasks.create_task(answers(house, CHAT)))
            while moment != "parked" and not driver.inside.is_set():
                await house.pass_time(0.5)
            house.engines[0][1].crash()
            await settle()
            driver.go_on.set()
        await answers(house, CHAT)
        assert house.started()[-1] == CHAT, "it was loaded anew"
        assert house.held() == (0, 0)
        parked = [model for model, phase in states(house).items() if phase == "parked"]
        assert house.hub.scheduler.tier_view().held_bytes == 600 * MIB * len(parked)
        views = {view.device: view for view in house.hub.scheduler.ledger_view()}
        assert views["gpu"].residents_bytes == 600 * MIB
        assert len(house.hub.residents.running) == 1 + len(parked)
