"""Leases over a restart of the hub: what one hub has granted, as the next one finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
from lease_desk import HOST, ME, MIB, Desk, told

from partage.domain import Class, Client, Device
from partage.errors import NotFound, ShuttingDown
from partage.hub.kept_leases import KeptLeases
from partage.hub.lease import Wish
from partage.hub.leases import LINGER_S, TTL_S

SMALL = Device(id="host", kind="host", name="host memory", total_bytes=500 * MIB, cores=2)


@pytest.fixture
def kept(tmp_path: Path) -> KeptLeases:
    return KeptLeases(tmp_path / "leases.json")


def restarted(kept: KeptLeases, device: Device = HOST) -> Desk:
    desk = Desk(devices=(device,), kept=kept, alive={77: 5 * MIB})
    desk.leases.hold_again()
    return desk


def granted_and_left(kept: KeptLeases, class_: Class = Class.NORMAL) -> None:
    """A hub grants it and goes, while the holder goes on."""
    desk = Desk(kept=kept, alive={77: 5 * MIB})
    with desk.hold(600, name="night", class_=class_) as lease:
        desk.leases.heartbeat(lease.id, ME, (77,))
        desk.leases.close()


async def test_the_next_hub_has_booked_it_before_the_holder_comes_back_and_tells_it_so(kept: KeptLeases):
    granted_and_left(kept, Class.BATCH)
    desk = restarted(kept)
    assert desk.free_mib == 400
    with desk.leases.returned(ME, "night-1") as lease:
        (granted,) = await told(lease, 1)
        assert (granted["state"], granted["lease"], granted["bytes"]) == ("granted", "night-1", 600 * MIB)
        assert (lease.class_, lease.pids) == (Class.BATCH, (77,))
        desk.alive.clear()
    assert desk.free_mib == 1000


def test_its_memory_is_free_again_where_the_holder_does_not_come_back(kept: KeptLeases):
    granted_and_left(kept)
    desk = restarted(kept)
    desk.look_on(TTL_S)
    assert desk.free_mib == 400
    desk.look_on(2 + LINGER_S)
    assert desk.free_mib == 1000, "what its processes still hold is a stranger's"
    with pytest.raises(NotFound), desk.leases.returned(ME, "night-1"):
        pass
    assert not kept.read()


def test_its_memory_is_free_at_once_where_its_processes_have_ended(kept: KeptLeases):
    granted_and_left(kept)
    desk = restarted(kept)
    desk.look()
    assert desk.free_mib == 400
    desk.alive.clear()
    desk.look()
    assert desk.free_mib == 1000


def test_a_second_restart_finds_it_too(kept: KeptLeases):
    granted_and_left(kept)
    with restarted(kept).leases.returned(ME, "night-1"):
        assert restarted(kept).free_mib == 400


def test_what_was_given_back_is_not_held_again(kept: KeptLeases):
    with Desk(kept=kept).hold(600):
        assert len(kept.read()) == 1
    assert restarted(kept).free_mib == 1000


def test_what_does_not_fit_any_more_is_not_waited_for(kept: KeptLeases):
    granted_and_left(kept)
    desk = restarted(kept, SMALL)
    assert (desk.free_mib, desk.leases.open) == (500, {})


def test_an_end_by_hand_ends_it_though_nobody_listens(kept: KeptLeases):
    granted_and_left(kept)
    desk = restarted(kept)
    desk.alive.clear()
    desk.leases.end("night-1", "enough")
    assert (desk.free_mib, desk.leases.open) == (1000, {})


def test_nobody_else_gets_it_and_nobody_gets_it_twice(kept: KeptLeases):
    granted_and_left(kept)
    desk = restarted(kept)
    with pytest.raises(NotFound), desk.leases.returned(Client(name="you"), "night-1"):
        pass
    with desk.leases.returned(ME, "night-1"), pytest.raises(NotFound), desk.leases.returned(ME, "night-1"):
        pass


def test_a_holder_that_claims_it_from_a_hub_that_still_ends_is_told_to_come_again(kept: KeptLeases):
    desk = Desk(kept=kept)
    with desk.hold(600) as lease:
        desk.leases.close()
        with pytest.raises(ShuttingDown), desk.leases.returned(ME, lease.id):
            pass


def test_a_new_lease_never_gets_the_name_of_one_that_is_held_again(kept: KeptLeases):
    granted_and_left(kept)
    with restarted(kept).hold(100, name="night") as lease:
        assert lease.id == "night-2"


def test_a_containers_lease_is_not_kept_for_docker_tells_of_it_again(kept: KeptLeases):
    with Desk(kept=kept).leases.held(ME, Wish(bytes_=MIB, beats=False)):
        assert not kept.read()
