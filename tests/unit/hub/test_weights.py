from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from partage.api.fake_hub import CHATTY as SOME_MODEL
from partage.clock import FakeClock
from partage.domain import Device, Footprint, LaunchSettings, Model, Placement
from partage.errors import ModelNotFound
from partage.hub.load_times import LoadTimes
from partage.hub.weights import Weights
from partage.policy.actions import StartEngine
from partage.policy.events import (
    EngineGone,
    EngineParked,
    EngineReady,
    EngineUnparked,
    ModelForgotten,
    ModelLearned,
    ModelProfile,
)

CHAT = "chat:latest"
CHATTY = replace(SOME_MODEL, name=CHAT, size_bytes=1_500_000_000)
HOST = Device(id="host", kind="host", name="host", total_bytes=10**10)
PLACEMENT = Placement(
    settings=LaunchSettings(context_tokens=4096, slots=1, threads=1),
    shares=(("host", Footprint(weights_bytes=1_500_000_000)),),
)
START = StartEngine(engine="chat#1", model=CHAT, placement=PLACEMENT, reason="asked for")


class Shelf:
    def get(self, name: str) -> Model:
        if name != CHAT:
            raise ModelNotFound(name)
        return CHATTY


@dataclass
class Disk:
    share: float | None = 1.0
    free_bytes: int = 10**10
    asked: list[float] = field(default_factory=list[float])

    def look(self, path: str, phase: float) -> float | None:
        self.asked.append(phase)
        if self.share is None:
            raise FileNotFoundError(path)
        return self.share


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def weights(disk: Disk, tmp_path: Path) -> Weights:
    times = LoadTimes(tmp_path / "loads.json")
    weights = Weights(Shelf(), times, [HOST], FakeClock(), lambda: disk.free_bytes, disk.look)
    profile = ModelProfile(model=CHAT, placements=(PLACEMENT,), load_s=weights.load_s(CHATTY, PLACEMENT))
    weights.decided(0.0, ModelLearned(profile), ())
    return weights


def told(weights: Weights) -> list[float]:
    """New prices, taken in as the hub would."""
    news = weights.news()
    for one in news:
        weights.decided(0.0, one, ())
    return [one.profile.load_s for one in news]


def load(weights: Weights, load_s: float) -> None:
    weights.decided(0.0, EngineGone(engine="", crashed=False), [START])
    weights.decided(0.0, EngineReady(engine="chat#1", load_s=load_s), ())


def test_policy_is_told_when_a_load_was_measured_and_not_again_while_nothing_changes(weights: Weights):
    load(weights, 0.5)
    assert told(weights) == [0.5]
    assert told(weights) == []


def test_policy_is_told_when_the_weights_were_pushed_out_of_the_page_cache(
    weights: Weights, disk: Disk, tmp_path: Path
):
    load(weights, 0.5)
    load(weights, 0.5)
    told(weights)
    disk.share = 0.0
    load(weights, 4.5)
    assert told(weights) == [pytest.approx(4.5)]
    disk.share = 0.5
    assert told(weights) == [pytest.approx(2.5)]
    assert (tmp_path / "loads.json").exists()


def test_small_changes_are_no_news(weights: Weights, disk: Disk):
    load(weights, 1.0)
    told(weights)
    disk.share = 0.98
    assert told(weights) == []


def test_tier_is_where_the_weights_are(weights: Weights, disk: Disk):
    def tier() -> str:
        (price,) = weights.prices()
        return price.tier

    assert tier() == "page cache"
    disk.share = 0.25
    assert tier() == "disk"
    load(weights, 1.0)
    assert tier() == "loaded"
    weights.decided(0.0, EngineParked(engine="chat#1", park_s=0.1), ())
    assert tier() == "parked"
    weights.decided(0.0, EngineUnparked(engine="chat#1", unpark_s=0.1), ())
    assert tier() == "loaded"
    weights.decided(0.0, EngineGone(engine="chat#1", crashed=False), ())
    assert tier() == "disk"
    weights.decided(0.0, ModelForgotten(CHAT), ())
    assert weights.prices() == []


def test_looks_do_not_always_touch_the_same_pages(tmp_path: Path, disk: Disk):
    clock = FakeClock()
    weights = Weights(Shelf(), LoadTimes(tmp_path / "l"), [HOST], clock, lambda: 0, disk.look)
    for _ in range(5):
        weights.load_s(CHATTY, PLACEMENT)
        clock.advance(5.0)
    assert len(set(disk.asked)) == 5


@pytest.mark.parametrize(
    ("share", "free_bytes", "worth"),
    [(0.5, 4 * 10**9, True), (1.0, 4 * 10**9, False), (0.5, 2 * 10**9, False), (None, 4 * 10**9, False)],
    ids=["on disk", "cached", "no room", "gone"],
)
def test_only_what_is_on_disk_and_leaves_room_is_read_ahead(
    weights: Weights, disk: Disk, share: float | None, free_bytes: int, worth: bool
):
    disk.share, disk.free_bytes = share, free_bytes
    assert weights.worth_reading(CHATTY) == worth


async def test_a_store_that_cannot_be_read_for_a_moment_does_not_end_the_hub(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("partage.hub.weights.LOOK_S", 0.0)
    looked_again = asyncio.Event()
    broken = iter([OSError(errno.ESTALE, "Stale file handle")])

    def news() -> list[ModelLearned]:
        for error in broken:
            raise error
        looked_again.set()
        return []

    monkeypatch.setattr(weights, "news", news)
    async with asyncio.timeout(10), weights.watching(lambda _: None):
        await looked_again.wait()


async def test_who_asks_for_the_prices_gets_those_of_the_last_look(
    weights: Weights, disk: Disk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("partage.hub.weights.LOOK_S", 0.0)
    looked = asyncio.Event()
    load(weights, 9.0)  # news, so that somebody is told of the look
    weights.decided(0.0, EngineGone(engine="chat#1", crashed=False), ())
    disk.share = 0.0
    async with asyncio.timeout(10), weights.watching(lambda _: looked.set()):
        await looked.wait()
    asked = len(disk.asked)
    [price] = weights.prices()
    assert (price.tier, price.cached_share) == ("disk", 0.0)
    assert len(disk.asked) == asked
