"""Containers with the label partage.lease: when Docker is told to pause them, and when not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from partage.domain import Class, Client
from partage.errors import CannotFit
from partage.hub.lease import Lease, Wish
from partage.serve.container_leases import ContainerLeases
from partage.watch.container import Container, container_from, identity

BATCH = Container(id="c1", name="train", pid=7, labels=(("class", "batch"), ("lease", "6GiB")))


@dataclass
class Docker:
    lets_us: bool = True
    told: list[str] = field(default_factory=list[str])

    async def pause(self, id_: str) -> bool:
        return self._order(f"pause {id_}")

    async def unpause(self, id_: str) -> bool:
        return self._order(f"unpause {id_}")

    async def stop(self, id_: str) -> bool:
        return self._order(f"stop {id_}")

    def _order(self, what: str) -> bool:
        self.told.append(what)
        return self.lets_us


@dataclass
class Hub:
    """Lends what it is asked for; the test says what becomes of it."""

    refuses: bool = False
    leases: list[Lease] = field(default_factory=list[Lease])
    held: int = 0

    @contextmanager
    def hold(self, client: Client, wish: Wish) -> Generator[Lease]:
        if self.refuses:
            raise CannotFit("too large")
        lease = Lease(f"lease-{len(self.leases)}", client, client.class_, wish, 0.0)
        self.leases.append(lease)
        self.held += 1
        try:
            yield lease
        finally:
            self.held -= 1


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def docker() -> Docker:
    return Docker()


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def watching(docker: Docker) -> ContainerLeases:
    return ContainerLeases(docker, lambda container: identity(container, {}, {}))


async def test_a_container_holds_its_lease_from_its_start_to_its_end(
    watching: ContainerLeases, docker: Docker, hub: Hub
):
    async with watching.running(hub.hold):
        watching.look([BATCH, Container(id="c2", name="other")])
        await settled()
        (lease,) = hub.leases
        assert (lease.client, lease.class_) == (Client(name="train", class_=Class.BATCH), Class.BATCH)
        assert (lease.wish.bytes_, lease.wish.name, lease.wish.beats) == (6 << 30, "train", False)
        watching.look([BATCH])
        await settled()
        assert len(hub.leases) == 1
        watching.look([replace(BATCH, running=False)])
        await settled()
        assert hub.held == 0
        watching.look([replace(BATCH, pid=8)])
        await settled()
        assert len(hub.leases) == 2


async def test_it_is_paused_while_it_waits_and_when_the_policy_says(
    watching: ContainerLeases, docker: Docker, hub: Hub
):
    async with watching.running(hub.hold):
        watching.look([BATCH])
        await settled()
        (lease,) = hub.leases
        for state in ("waiting", "waiting", "granted", "warned"):
            lease.tell(state)
        lease.pause("turn", "people")
        await settled()
        lease.resume("turn")
        await settled()
        assert docker.told == ["pause c1", "unpause c1", "pause c1", "unpause c1"]
        lease.end("enough")
        await settled()
        assert docker.told[-1] == "stop c1"
        assert hub.held == 0


async def test_whoever_leaves_it_paused_lets_it_go_on(watching: ContainerLeases, docker: Docker, hub: Hub):
    async with watching.running(hub.hold):
        watching.look([BATCH])
        await settled()
        hub.leases[0].tell("waiting")
        await settled()
    assert docker.told == ["pause c1", "unpause c1"]
    assert hub.held == 0


async def test_where_docker_takes_no_orders_it_is_said_once_and_only_accounted(
    watching: ContainerLeases, docker: Docker, hub: Hub, caplog: pytest.LogCaptureFixture
):
    docker.lets_us = False
    with caplog.at_level(logging.WARNING):
        async with watching.running(hub.hold):
            watching.look([BATCH, replace(BATCH, id="c9", name="more")])
            await settled()
            for lease in hub.leases:
                lease.tell("waiting")
                lease.tell("granted")
            await settled()
            assert hub.held == 2
    assert docker.told == ["pause c1"]
    assert len(caplog.records) == 1


async def test_a_lease_that_can_never_fit_is_a_line_in_the_log(
    watching: ContainerLeases, hub: Hub, caplog: pytest.LogCaptureFixture
):
    hub.refuses = True
    async with watching.running(hub.hold):
        watching.look([BATCH])
        await settled()
    assert "container train has no lease: too large" in caplog.text


@pytest.mark.parametrize(
    ("labels", "requests", "device"),
    [
        ({}, [], None),
        ({}, [{"DeviceIDs": ["GPU-1"]}], "GPU-1"),
        ({}, [{"DeviceIDs": ["0", "1"]}], None),
        ({"partage.device": "host"}, [{"DeviceIDs": ["0"]}], "host"),
    ],
)
def test_where_its_lease_must_be(labels: dict[str, str], requests: list[dict[str, object]], device: str | None):
    inspected = {"Id": "x", "Name": "/x", "Config": {"Labels": labels}, "HostConfig": {"DeviceRequests": requests}}
    assert container_from(inspected).device == device
