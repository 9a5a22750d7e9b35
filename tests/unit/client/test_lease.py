"""Holding a lease: waiting, the grant, pauses, the end by the hub, and the end of the hub."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest

from partage.client.lease import BEAT_EVERY_S, News, holding
from partage.errors import EngineCrashed, HubUnreachable, LeaseLost, NotFound, QueueFull, ShuttingDown
from partage.json_value import JsonObject

GRANTED: JsonObject = {"state": "granted", "lease": "x-1", "device": "host", "bytes": 5, "environment": {"A": "b"}}


class Hub:
    """Says what a test puts in; knows whether the stream is open and who beat."""

    def __init__(self, *said: JsonObject | Exception | None) -> None:
        self.lines: asyncio.Queue[JsonObject | Exception | None] = asyncio.Queue()
        for one in said:
            self.lines.put_nowait(one)
        self.open = False
        self.orders: list[JsonObject] = []
        self.beats: list[tuple[str, tuple[int, ...]]] = []
        self.news: list[str] = []

    async def stream(self, order: JsonObject) -> AsyncGenerator[bytes]:
        self.open = True
        self.orders.append(order)
        try:
            while (one := await self.lines.get()) is not None:
                if isinstance(one, Exception):
                    raise one
                yield json.dumps(one).encode()
        finally:
            self.open = False

    async def beat(self, lease: str, pids: tuple[int, ...]) -> None:
        self.beats.append((lease, pids))

    def hear(self, news: News) -> None:
        self.news.append(news.state)


async def test_the_body_runs_once_the_lease_is_granted_and_leaving_it_gives_it_back():
    hub = Hub({"state": "waiting", "position": 2}, GRANTED)
    async with holding({}, hub.stream, hub.beat, hub.hear) as lease:
        assert (lease.id, lease.device, lease.bytes_, lease.environment) == ("x-1", "host", 5, {"A": "b"})
        assert hub.open
        await asyncio.sleep(0)
    assert not hub.open
    assert hub.news == ["waiting", "granted"]
    assert hub.beats[-1] == ("x-1", ()), "nothing need be waited for"


async def test_the_processes_that_use_it_are_told_at_once_and_a_hub_that_does_not_answer_holds_nobody_up():
    hub, told = Hub(GRANTED), asyncio.Event()

    async def beat(lease: str, pids: tuple[int, ...]) -> None:
        await hub.beat(lease, pids)
        if pids == (7,):
            told.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(BEAT_EVERY_S / 2):
        async with holding({}, hub.stream, beat, hub.hear) as lease:
            await asyncio.sleep(0)
            lease.used_by(7)
            await told.wait()
    assert hub.beats[-1] == ("x-1", (7,)), "their end tells"


async def test_a_pause_is_an_event_that_can_be_waited_out():
    hub = Hub(GRANTED, {"state": "paused", "reason": "people"})
    async with holding({}, hub.stream, hub.beat, hub.hear) as lease:
        await lease.paused.wait()
        hub.lines.put_nowait({"state": "resumed"})
        await lease.wait_resumed()
        assert not lease.paused.is_set()


async def test_a_lease_that_is_ended_interrupts_the_body():
    hub = Hub(GRANTED, {"state": "ended", "reason": "enough"})
    with pytest.raises(LeaseLost, match="enough"):
        async with holding({}, hub.stream, hub.beat, hub.hear):
            await asyncio.Event().wait()
    assert not hub.open


@pytest.mark.parametrize("end", [None, EngineCrashed("broken")])
async def test_when_the_hub_goes_the_body_goes_on_and_is_not_paused(end: Exception | None):
    hub = Hub(GRANTED, {"state": "paused"}, end)
    async with holding({}, hub.stream, hub.beat, hub.hear) as lease:
        await lease.paused.wait()
        await lease.wait_resumed()
    assert hub.news == ["granted", "paused", "orphaned"]


async def test_once_the_hub_has_gone_nobody_beats_for_a_lease_that_its_successor_may_have_given_to_another():
    hub = Hub(GRANTED, None)
    async with holding({}, hub.stream, hub.beat, hub.hear) as lease:
        for _ in range(10):
            await asyncio.sleep(0)
        assert hub.news[-1] == "orphaned"
        hub.beats.clear()
        lease.used_by(7)
        for _ in range(10):
            await asyncio.sleep(0)
    assert hub.beats == []


async def soon(_seconds: float) -> None:
    await asyncio.sleep(0)


async def test_the_lease_is_claimed_again_from_the_hub_that_comes_back():
    hub = Hub(GRANTED, None, HubUnreachable(), ShuttingDown(), GRANTED, {"state": "paused"})
    async with holding({"memory": 5}, hub.stream, hub.beat, hub.hear, soon) as lease:
        await lease.paused.wait()
        assert not lease.orphaned
        lease.used_by(7)
        for _ in range(10):
            await asyncio.sleep(0)
    assert hub.orders == [{"memory": 5}, *[{"lease": "x-1"}] * 3]
    assert hub.news == ["granted", "orphaned", "returned", "paused"]
    assert hub.beats[-1] == ("x-1", (7,))
    assert not hub.open


async def test_a_hub_that_knows_nothing_of_the_lease_is_asked_once_and_the_body_goes_on():
    hub = Hub(GRANTED, None, NotFound("there is no lease 'x-1' any more"))
    async with holding({}, hub.stream, hub.beat, hub.hear, soon) as lease:
        for _ in range(20):
            await asyncio.sleep(0)
        assert lease.orphaned
    assert hub.news == ["granted", "orphaned", "forgotten"]


async def test_a_refusal_comes_out_as_it_is():
    hub = Hub({"state": "waiting"}, QueueFull("it has waited 5 s"))
    with pytest.raises(QueueFull, match="waited"):
        async with holding({}, hub.stream, hub.beat, hub.hear):
            raise AssertionError


async def test_an_error_of_the_body_comes_out_as_it_is():
    hub = Hub(GRANTED)
    with pytest.raises(ValueError, match="mine"):
        async with holding({}, hub.stream, hub.beat, hub.hear):
            raise ValueError("mine")
