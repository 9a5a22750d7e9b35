"""Leases over a hub on fake time: who is told what, and when the memory is free again."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from lease_desk import GPU, HOST, ME, MIB, Desk, told

from partage.device.attribution import Holdings, Owner
from partage.domain import Class, Client
from partage.errors import CannotFit, InvalidRequest, NotFound, QueueFull, ShuttingDown
from partage.hub.lease import Wish
from partage.hub.leases import LINGER_S, TTL_S
from partage.policy.events import DeviceSeen, EngineMeasured
from partage.policy.views import LeaseView


async def test_a_lease_that_fits_is_granted_with_its_environment():
    desk = Desk()
    with desk.hold(600, name="train.py", cores=1) as lease:
        (granted,) = await told(lease, 1)
        assert granted == {
            "state": "granted", "lease": "train.py-1", "device": "host", "bytes": 600 * MIB, "waited_s": 0.0,
            "environment": {"PARTAGE_LEASE": "train.py-1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        }  # fmt: skip
        assert desk.free_mib == 400
    assert desk.free_mib == 1000


async def test_a_gpu_lease_names_its_gpu_and_where_mps_runs_its_limits():
    desk = Desk(devices=(GPU,), mps=True)
    with desk.hold(300, device="0") as lease:
        (granted,) = await told(lease, 1)
    assert granted["environment"] == {
        "PARTAGE_LEASE": "lease-1",
        "CUDA_VISIBLE_DEVICES": "GPU-7",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=300M",
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "30",
    }


async def test_who_waits_is_told_position_and_wait_every_second_and_then_the_grant():
    desk = Desk()
    with desk.hold() as first, desk.hold() as second:
        desk.look()
        assert [one["state"] for one in await told(second, 2)] == ["waiting", "waiting"]
        assert first.engine is not None
        desk.leases.end(first.id, "enough")
        assert [one["state"] for one in await told(first, 2)] == ["granted", "ended"]
    with desk.hold() as third:
        assert (await told(third, 1))[0]["state"] == "granted"


async def test_the_second_is_granted_when_the_first_leaves():
    desk = Desk()
    first = desk.hold()
    first.__enter__()
    with desk.hold() as second:
        first.__exit__(None, None, None)
        assert [one["state"] for one in await told(second, 2)] == ["waiting", "granted"]


def test_memory_counts_as_held_until_the_processes_are_gone():
    desk = Desk(alive={77: 5 * MIB})
    with desk.hold(pids=(77,)):
        pass
    assert desk.free_mib == 400
    del desk.alive[77]
    desk.look()
    assert desk.free_mib == 1000


def test_processes_that_do_not_go_are_a_strangers_after_a_while():
    desk = Desk(alive={77: 5 * MIB})
    with desk.hold(pids=(77,)):
        pass
    desk.look(LINGER_S - 1)
    assert desk.free_mib == 400
    desk.look(2)
    assert desk.free_mib == 1000
    assert not desk.leases.pids()


async def test_a_holder_that_is_not_heard_of_loses_its_lease():
    desk = Desk()
    with desk.hold() as lease:
        desk.look_on(TTL_S - 1)
        desk.leases.heartbeat(lease.id, ME)
        desk.look_on(TTL_S - 1)
        assert not lease.ended
        desk.look_on(2)
        assert (await told(lease, 2))[1]["reason"] == "its holder has not been heard of for 15 s"
        desk.look(2)
        assert [id_ for _, id_ in desk.leases.lost] == [lease.id]
        with pytest.raises(NotFound):
            desk.leases.heartbeat(lease.id, ME)


def test_a_hub_that_was_held_up_itself_does_not_take_the_holders_for_gone():
    desk = Desk()
    with desk.hold() as lease:
        desk.look()
        desk.look(10 * TTL_S)
        assert not lease.ended, "its heartbeats are on the way, unread"
        desk.look_on(TTL_S + 1)
        assert lease.ended


def test_a_look_takes_one_picture_of_those_who_wait_however_many_they_are():
    desk, pictures = Desk(), list[int]()

    def views() -> tuple[LeaseView, ...]:
        pictures.append(1)
        return desk.scheduler.leases_view()

    desk.leases._views = views
    with ExitStack() as held:
        for _ in range(50):
            held.enter_context(desk.hold())
        pictures.clear()
        desk.look()
    assert len(pictures) == 1


def test_a_process_that_is_named_beside_its_parent_is_weighed_once():
    desk = Desk(alive={7: 300 * MIB, 8: 300 * MIB})
    below = {7: [7, 8], 8: [8]}
    desk.leases._tree = below.__getitem__
    with desk.hold(600, pids=(7, 8)) as lease:
        desk.look()
        assert lease.measured_bytes == 600 * MIB


def test_nobody_else_keeps_a_lease_alive():
    desk = Desk()
    with desk.hold() as lease, pytest.raises(NotFound):
        desk.leases.heartbeat(lease.id, Client(name="other"))


async def test_over_its_limit_the_holder_is_warned_and_the_ledger_counts_what_it_has():
    desk = Desk(alive={77: 100 * MIB})
    with desk.hold(600, pids=(77,)) as lease:
        desk.look()
        assert desk.free_mib == 400
        desk.alive[77] = 700 * MIB
        desk.look()
        assert desk.free_mib == 300
        warned = (await told(lease, 2))[1]
        assert (warned["state"], warned["reason"]) == ("warned", "it uses 700 MiB of a lease of 600 MiB")
        desk.alive[77] = 500 * MIB
        desk.look()
        assert desk.free_mib == 400
    assert sum(isinstance(event, EngineMeasured) for event in desk.events) == 2


async def test_over_its_limit_the_holder_is_paused_until_it_is_below():
    desk = Desk(over_limit="pause", alive={77: 700 * MIB})
    with desk.hold(600, pids=(77,)) as lease:
        desk.look()
        assert lease.paused
        desk.alive[77] = 500 * MIB
        desk.look()
        assert [one["state"] for one in await told(lease, 3)] == ["granted", "paused", "resumed"]


def test_what_a_holder_takes_that_does_not_heed_its_pause_is_promised_to_nobody():
    desk = Desk(over_limit="pause", alive={7: 700 * MIB})
    with desk.hold(600, pids=(7,)) as lease:
        desk.look()
        assert lease.paused
        assert desk.free_mib == 300
        desk.alive[7] = 900 * MIB
        desk.look()
        assert desk.free_mib == 100


async def test_over_its_limit_the_holder_is_ended():
    desk = Desk(over_limit="kill", alive={77: 700 * MIB})
    with desk.hold(600, pids=(77,)) as lease:
        desk.look()
        assert (await told(lease, 2))[1]["state"] == "ended"


async def test_two_causes_to_pause_are_one_pause():
    desk = Desk(over_limit="pause", alive={77: 700 * MIB})
    with desk.hold(600, pids=(77,)) as lease:
        assert lease.engine is not None
        assert desk.leases.pause(lease.engine, "urgent")
        desk.look()
        assert desk.leases.resume(lease.engine)
        assert lease.paused
        desk.alive[77] = 1 * MIB
        desk.look()
        assert [one["state"] for one in await told(lease, 3)] == ["granted", "paused", "resumed"]


def test_orders_to_engines_of_models_are_not_ours():
    desk = Desk()
    assert not desk.leases.pause("chat#1", "urgent")
    assert not desk.leases.resume("chat#1")


def test_on_a_gpu_the_drivers_figure_for_the_holders_processes_counts():
    desk = Desk(devices=(GPU,))
    holdings = Holdings(
        device=GPU.id,
        total_bytes=1000 * MIB,
        used_bytes=900 * MIB,
        owners=(
            Owner(kind="lease", name="lease-1", pid=77, used_bytes=700 * MIB),
            Owner(kind="stranger", name="x", pid=78, used_bytes=200 * MIB),
        ),
    )
    with desk.hold(600, pids=(77,)) as lease:
        desk.look(gpus=[holdings])
        assert lease.measured_bytes == 700 * MIB
        assert desk.free_mib == 300


def test_what_a_holder_has_not_taken_yet_is_told_for_each_device():
    desk = Desk(alive={77: 100 * MIB})
    with desk.hold(600, pids=(77,)):
        assert desk.leases.unused_bytes("host") == 0, "before it was measured nothing is known"
        desk.look()
        assert desk.leases.unused_bytes("host") == 500 * MIB
        assert desk.leases.unused_bytes("GPU-7") == 0


@pytest.mark.parametrize(
    ("own", "asked", "gets"),
    [
        (Class.NORMAL, None, Class.NORMAL),
        (Class.NORMAL, Class.BATCH, Class.BATCH),
        (Class.BATCH, Class.INTERACTIVE, Class.BATCH),
    ],
)
def test_a_client_asks_for_less_than_its_own_class_never_for_more(own: Class, asked: Class | None, gets: Class):
    with Desk().hold(client=Client(name="me", class_=own), class_=asked) as lease:
        assert lease.class_ == gets


def test_what_can_never_fit_is_refused_before_anything_is_held():
    desk = Desk()
    with pytest.raises(CannotFit, match=r"needs 1\.17 GiB \(1,258,291,200 bytes\)"), desk.hold(1200):
        pass
    assert not desk.leases.open


async def test_who_waited_too_long_is_refused():
    desk = Desk()
    with desk.hold(), desk.hold(max_wait_s=5.0) as second:
        desk.clock.advance(6)
        desk.post(DeviceSeen(HOST))
        news = second.news()
        await anext(news)
        with pytest.raises(QueueFull, match="waited"):
            await anext(news)


@pytest.mark.parametrize(("mib", "device", "says"), [(0, None, "say how much"), (5, "9", "there is no device '9'")])
def test_an_order_that_means_nothing_is_refused(mib: int, device: str | None, says: str):
    with pytest.raises(InvalidRequest, match=says), Desk().hold(mib, device=device):
        pass


def test_a_lease_of_a_few_bytes_was_meant_in_another_unit():
    desk = Desk()
    with pytest.raises(InvalidRequest, match="5 bytes are no lease; give a unit"), desk.leases.held(ME, Wish(bytes_=5)):
        pass


async def test_when_the_hub_goes_who_waits_is_refused_and_who_holds_may_go_on():
    desk = Desk()
    with desk.hold() as first, desk.hold() as second:
        desk.leases.close()
        assert [one["state"] async for one in first.news()] == ["granted"]
        news = second.news()
        await anext(news)
        with pytest.raises(ShuttingDown):
            await anext(news)
    with pytest.raises(ShuttingDown), desk.hold():
        pass


def test_the_list_says_who_has_what():
    desk = Desk(alive={77: 5 * MIB})
    with desk.hold(name="first", pids=(77,)), desk.hold(name="second", class_=Class.BATCH):
        desk.look(10)
        first, second = desk.leases.to_json()
    assert (first["state"], first["device"], first["bytes"], first["measured_bytes"]) == (
        "held",
        "host",
        600 * MIB,
        5 * MIB,
    )
    assert first["since_s"] == 10
    assert (second["state"], second["class"], second["position"], second["device"]) == ("waiting", "batch", 1, "")
