"""Leases over HTTP, with the hub's own Leases behind them and a policy that says what the test wants."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import httpx
import pytest

from partage.api.app import create_app
from partage.api.fake_hub import FakeHub
from partage.api.ports import ApiSettings
from partage.clock import FakeClock
from partage.domain import Client, Device
from partage.errors import CannotFit
from partage.hub.lease import Wish
from partage.hub.leases import Leases
from partage.policy.actions import GrantLease
from partage.policy.events import Event, LeaseAsked, LeaseEnded
from partage.policy.views import LeaseView

GIB = 1 << 30


@dataclass
class Policy:
    """Grants everything below 10 GiB, unless it is told to let everybody wait."""

    waits: bool = False
    events: list[Event] = field(default_factory=list[Event])
    pids: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])
    leases: Leases = field(init=False)

    def __post_init__(self) -> None:
        host = Device(id="host", kind="host", name="host", total_bytes=10 * GIB)
        self.leases = Leases(post=self.post, views=self.views, clock=FakeClock(), devices=[host])

    def post(self, event: Event) -> None:
        self.events.append(event)
        if not isinstance(event, LeaseAsked) or self.waits:
            return
        lease = event.lease
        self.pids.append(self.leases.open[lease.id].pids)
        if lease.bytes_ > 10 * GIB:
            self.leases.refused(lease.id, CannotFit("the lease needs more", needs_bytes=lease.bytes_))
        else:
            self.leases.granted(GrantLease(lease=lease.id, engine="e", device="host", bytes_=lease.bytes_))
            self.leases.end(lease.id, "the test is over")

    def views(self) -> tuple[LeaseView, ...]:
        return ()


@pytest.fixture
def policy() -> Policy:
    return Policy()


@pytest.fixture
async def leasing(hub: FakeHub, settings: ApiSettings, policy: Policy) -> AsyncGenerator[httpx.AsyncClient]:
    app = create_app(hub, settings, None, policy.leases)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_a_lease_is_a_stream_of_lines_from_the_grant_to_the_end(leasing: httpx.AsyncClient, policy: Policy):
    answer = await leasing.post("/admin/leases", json={"memory": "6GiB", "name": "train", "class": "batch"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    granted, ended = map(json.loads, answer.text.splitlines())
    assert (granted["state"], granted["lease"], granted["bytes"]) == ("granted", "train-1", 6 * GIB)
    assert ended == {"state": "ended", "reason": "the test is over"}
    assert policy.events[-1] == LeaseEnded(lease="train-1")


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ({}, "memory"),
        ({"memory": "plenty"}, "memory"),
        ({"memory": "1GiB", "class": "urgent"}, "class"),
        ({"memory": "1GiB", "device": "9"}, "there is no device '9' here; there is host"),
        ({"memory": "1GiB", "pid": -1}, "pid"),
        ({"memory": "1GiB", "max_wait": "soon"}, "max_wait"),
    ],
)
async def test_an_order_that_means_nothing_is_refused_by_its_field(
    leasing: httpx.AsyncClient, order: dict[str, object], says: str
):
    answer = await leasing.post("/admin/leases", json=order)
    assert answer.status_code == 400
    assert says in answer.json()["error"]


async def test_what_can_never_fit_has_the_status_507(leasing: httpx.AsyncClient):
    answer = await leasing.post("/admin/leases", json={"memory": "11GiB"})
    assert (answer.status_code, answer.json()) == (507, {"error": "the lease needs more"})


@pytest.mark.parametrize(("address", "counts"), [("127.0.0.1", True), ("172.17.0.2", False)])
async def test_process_ids_count_only_from_this_machine(
    hub: FakeHub, settings: ApiSettings, policy: Policy, address: str, counts: bool
):
    transport = httpx.ASGITransport(create_app(hub, settings, None, policy.leases), client=(address, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as caller:
        await caller.post("/admin/leases", json={"memory": "1GiB", "pid": 77})
    assert policy.pids == [(77,) if counts else ()]


async def test_leases_are_listed_kept_alive_and_ended(leasing: httpx.AsyncClient, policy: Policy, hub: FakeHub):
    policy.waits = True
    hub.keys = {"k": Client(name="me"), "o": Client(name="other")}
    mine, others = {"Authorization": "Bearer k"}, {"Authorization": "Bearer o"}
    with policy.leases.held(Client(name="me"), Wish(bytes_=GIB)) as lease:
        assert (await leasing.post("/admin/leases/lease-1/heartbeat", headers=mine)).status_code == 200
        assert (await leasing.post("/admin/leases/lease-1/heartbeat", headers=others)).status_code == 404
        assert (await leasing.get("/admin/leases", headers=mine)).json() == {"leases": []}
        assert (await leasing.delete("/admin/leases/nobody", headers=mine)).status_code == 404
        assert (await leasing.delete("/admin/leases/lease-1", headers=others)).json()["state"] == "ended"
        assert lease.ended


async def test_a_hub_without_leases_has_no_such_path(http: httpx.AsyncClient):
    assert (await http.get("/admin/leases")).status_code == 404
