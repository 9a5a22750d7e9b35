from __future__ import annotations

import asyncio

from partage.client.wire import ModelInfo
from partage.clock import FakeClock
from partage.dashboard.picture import Picture
from partage.dashboard.poller import ABSENT_EVERY_S, MODELS_EVERY_S, Poller
from partage.engine.fake import settle
from partage.errors import HubUnreachable, NotFound, PartageError
from partage.json_value import JsonObject


class Hub:
    """Says what it is set to; counts what it was asked."""

    def __init__(self) -> None:
        self.trouble: PartageError | None = None
        self.watches = True
        self.asked: dict[str, int] = {}
        self.state: JsonObject = {"now_s": 1.0, "devices": [{"id": "host", "budget_bytes": 1}]}

    def _ask(self, what: str) -> None:
        self.asked[what] = self.asked.get(what, 0) + 1
        if self.trouble is not None:
            raise self.trouble

    async def status(self) -> JsonObject:
        self._ask("status")
        return self.state

    async def models(self) -> list[ModelInfo]:
        self._ask("models")
        return [ModelInfo(name="a")]

    async def alerts(self) -> JsonObject:
        self._ask("alerts")
        if not self.watches:
            raise NotFound("there is no /admin/alerts here")
        return {"standing": [], "history": []}

    async def machine(self) -> JsonObject:
        self._ask("machine")
        if not self.watches:
            raise NotFound("there is no /admin/machine here")
        return {"docker": True, "containers": []}


def poller(hub: Hub, clock: FakeClock) -> Poller:
    return Poller(hub, clock, lambda: 1000.0)


async def test_every_page_is_told_the_same_picture():
    poll = poller(Hub(), FakeClock())
    told: list[Picture] = []
    poll.listeners += [told.append, told.append]
    await poll.poll()
    assert told[0] is told[1] is poll.picture
    assert {"memory", "queue", "timeline", "clients", "models", "alerts", "containers"} < set(told[0].panels)


async def test_a_hub_that_is_away_leaves_the_last_picture_marked_since_its_first_failure():
    hub = Hub()
    poll = poller(hub, FakeClock())
    await poll.poll()
    panels = poll.picture.panels
    hub.trouble = HubUnreachable("nobody there")
    await poll.poll()
    first = poll.picture.away
    await poll.poll()
    assert first is not None
    assert poll.picture.away == first
    assert poll.picture.panels == panels
    hub.trouble = None
    await poll.poll()
    assert poll.picture.away is None


async def test_an_answer_that_is_not_understood_counts_as_away():
    hub = Hub()
    hub.state = {"devices": 5}
    poll = poller(hub, FakeClock())
    await poll.poll()
    assert poll.picture.away is not None
    assert "not understood" in poll.picture.away.message


async def test_models_are_asked_for_now_and_then_and_at_once_after_something_was_done():
    hub, clock = Hub(), FakeClock()
    poll = poller(hub, clock)
    await poll.poll()
    await poll.poll()
    assert (hub.asked["status"], hub.asked["models"]) == (2, 1)
    clock.advance(MODELS_EVERY_S)
    await poll.poll()
    assert hub.asked["models"] == 2
    poll.hurry()
    await poll.poll()
    assert hub.asked["models"] == 3


async def test_what_the_hub_does_not_have_is_asked_for_once_a_minute():
    hub, clock = Hub(), FakeClock()
    hub.watches = False
    poll = poller(hub, clock)
    await poll.poll()
    await poll.poll()
    assert (hub.asked["alerts"], hub.asked["machine"]) == (1, 1)
    assert "alerts" not in poll.picture.panels
    hub.watches = True
    clock.advance(ABSENT_EVERY_S)
    await poll.poll()
    assert "alerts" in poll.picture.panels


async def test_a_page_that_opens_need_not_wait_for_the_next_round():
    hub = Hub()
    poll = poller(hub, FakeClock())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(poll.run())
        await settle()
        assert hub.asked["status"] == 1
        poll.hurry()
        await settle()
        assert hub.asked["status"] == 2
        running.cancel()
