from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest

from partage.domain import Footprint, LaunchSettings, Placement
from partage.errors import EngineStartFailed
from partage.hub.stays import KEPT, KEPT_S, PAUSES_KEPT, Stays
from partage.policy.actions import GrantLease, PauseEngine, ResumeEngine, StartEngine, UnparkEngine
from partage.policy.events import (
    EngineFailed,
    EngineGone,
    EngineParked,
    EngineUnparked,
    LeaseEnded,
    TimePassed,
    UnloadAsked,
)

from .conftest import CHAT, MIB, House, text_of


class OpenHouse(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[House]: ...


def start(engine: str) -> StartEngine:
    settings = LaunchSettings(context_tokens=4096, slots=1, threads=1)
    placement = Placement(settings=settings, shares=(("host", Footprint(weights_bytes=7)),))
    return StartEngine(engine=engine, model="chat:latest", placement=placement, reason="wanted")


async def test_a_stay_has_the_times_and_the_reasons_of_its_beginning_and_its_end(open_house: OpenHouse):
    async with open_house() as house:
        began_s = house.hub.clock.now_s()
        ticket = house.admit(CHAT)
        await house.pass_time(1.5)
        (stay,) = house.hub.stays.to_json(house.hub.clock.now_s())
        assert (stay["model"], stay["devices"]) == (CHAT, {"host": 100 * MIB})
        assert stay["started_s"] == began_s
        assert stay["ready_s"] == pytest.approx(began_s + 1.0, abs=0.01)
        assert stay["ended_s"] is None
        assert stay["came"]
        await ticket.stream().aclose()
        house.hub.post(UnloadAsked(model=CHAT))
        await house.pass_time(10)
        (stay,) = house.hub.stays.to_json(house.hub.clock.now_s())
        assert stay["ended_s"] is not None
        assert stay["stopping_s"] is not None
        assert stay["left"]
        assert stay["failed"] is False


async def test_an_engine_that_does_not_start_leaves_a_failed_stay_that_says_why(open_house: OpenHouse):
    async with open_house() as house:
        house.broken = EngineStartFailed("no room in the inn")
        ticket = house.admit(CHAT)
        await house.pass_time(60)
        stay = house.hub.stays.to_json(house.hub.clock.now_s())[0]
        assert (stay["failed"], stay["left"]) == (True, "no room in the inn")
        with pytest.raises(EngineStartFailed):
            await text_of(ticket)


def test_a_crash_that_nobody_ordered_is_a_failed_stay():
    stays = Stays()
    stays.decided(1.0, TimePassed(), [start("a#1")])
    stays.decided(2.0, EngineGone(engine="a#1", crashed=True), [])
    (stay,) = stays.to_json(3.0)
    assert (stay["failed"], stay["left"], stay["ended_s"]) == (True, "it crashed", 2.0)


def test_a_stay_ends_when_the_engine_is_in_ram_and_another_begins_when_it_comes_back():
    stays = Stays()
    stays.decided(1.0, TimePassed(), [start("a#1")])
    stays.decided(5.0, EngineParked(engine="a#1", park_s=0.5), [])
    stays.decided(8.0, TimePassed(), [UnparkEngine(engine="a#1")])
    stays.decided(9.0, EngineUnparked(engine="a#1", unpark_s=1.0), [])
    first, second = stays.to_json(10.0)
    assert (first["ended_s"], first["left"]) == (5.0, "moved to RAM")
    assert (second["started_s"], second["ready_s"], second["devices"]) == (8.0, 9.0, {"host": 7})


def test_what_ended_an_hour_ago_and_what_is_too_much_is_forgotten():
    stays = Stays()
    for number in range(KEPT + 10):
        stays.decided(float(number), TimePassed(), [start(f"a#{number}")])
        stays.decided(float(number), EngineFailed(engine=f"a#{number}", reason=""), [])
    assert len(stays.to_json(1.0)) == KEPT
    assert len(stays.to_json(KEPT + KEPT_S)) == 9


def test_a_lease_has_a_stay_from_its_grant_to_its_end():
    stays = Stays()
    stays.decided(1.0, TimePassed(), [GrantLease(lease="train-1", engine="lease:train-1#3", device="GPU-0", bytes_=7)])
    (held,) = stays.to_json(2.0)
    assert (held["model"], held["lease"], held["devices"], held["ready_s"]) == ("train-1", True, {"GPU-0": 7}, 1.0)
    stays.decided(9.0, LeaseEnded(lease="train-1"), [])
    stays.decided(9.5, LeaseEnded(lease="another"), [])
    (over,) = stays.to_json(10.0)
    assert (over["ended_s"], over["left"], over["failed"]) == (9.0, "it ended", False)


def test_pauses_that_people_could_see_are_part_of_the_stay_and_the_rest_is_not():
    stays = Stays()
    stays.decided(0.0, TimePassed(), [start("a#1")])
    for at_s in (1.0, 2.0, 3.0):
        stays.decided(at_s, TimePassed(), [PauseEngine(engine="a#1", reason="turn")])
        stays.decided(at_s + 0.25, TimePassed(), [ResumeEngine(engine="a#1")])
    stays.decided(5.0, TimePassed(), [PauseEngine(engine="a#1", reason="urgent")])
    assert stays.to_json(5.1)[0]["pauses"] == []
    stays.decided(7.0, TimePassed(), [PauseEngine(engine="a#1", reason="hand")])
    assert stays.to_json(9.0)[0]["pauses"] == [
        {"reason": "urgent", "from_s": 5.0, "to_s": 7.0},
        {"reason": "hand", "from_s": 7.0, "to_s": None},
    ]
    stays.decided(20.0, EngineGone(engine="a#1", crashed=False), [])
    (over,) = stays.to_json(21.0)
    assert over["pauses"][-1]["to_s"] == 20.0  # type: ignore[index,call-overload]


def test_pauses_of_a_stay_are_bounded():
    stays = Stays()
    stays.decided(0.0, TimePassed(), [start("a#1")])
    for at_s in range(1, 100, 2):
        stays.decided(at_s, TimePassed(), [PauseEngine(engine="a#1", reason="hand")])
        stays.decided(at_s + 1, TimePassed(), [ResumeEngine(engine="a#1")])
    assert len(stays.to_json(100.0)[0]["pauses"]) == PAUSES_KEPT  # type: ignore[arg-type]
