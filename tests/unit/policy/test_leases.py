"""Leases: the same queues, ledger and promises as for models."""

from __future__ import annotations

import pytest
from town import Town, gpu, host, placement

from partage.domain import Class
from partage.policy import actions, events
from partage.policy.settings import PolicySettings


def a_town(*devices: object) -> Town:
    return Town(PolicySettings(), *(devices or (gpu("gpu", 10),)))  # type: ignore[arg-type]


def loaded(town: Town, name: str, size: int, request: str = "") -> str:
    """A model that is there and idle, or serves `request`; its engine."""
    town.learn(name, placement(("gpu", size)))
    town.ask(request or f"for-{name}", name)
    (engine,) = town.started
    town.make_ready(engine)
    if not request:
        town.finish(f"for-{name}")
    return engine


def grants(town: Town) -> list[tuple[str, str, int]]:
    return [(one.lease, one.device, one.bytes_) for one in town.out if isinstance(one, actions.GrantLease)]


def test_a_lease_that_fits_is_granted_at_once():
    town = a_town()
    town.lease("train", 6)
    assert grants(town) == [("train", "gpu", 6)]


def test_a_lease_need_not_wait_for_a_model_that_is_loading():
    town = a_town()
    town.learn("a", placement(("gpu", 3)))
    town.ask("r", "a")
    town.lease("train", 6)
    assert grants(town) == [("train", "gpu", 6)]


def test_an_idle_model_makes_room_and_the_lease_is_granted_when_it_has_gone():
    town = a_town()
    engine = loaded(town, "a", 8)
    town.lease("train", 6)
    town.pass_time(60)
    assert town.stopping == {engine}
    assert town.granted == []
    town.go(engine)
    assert town.granted == ["train"]


def test_a_holder_is_never_a_victim_however_long_people_wait():
    town = a_town()
    town.lease("train", 6, class_=Class.BATCH)
    town.learn("a", placement(("gpu", 8)))
    town.ask("person", "a", class_=Class.INTERACTIVE)
    town.pass_time(500)
    assert not town.running
    town.end_lease("train")
    assert len(town.starting) == 1


def test_what_was_leased_is_free_for_the_next_when_it_ends():
    town = a_town()
    town.lease("first", 6)
    town.lease("second", 6)
    assert town.granted == ["first"]
    town.end_lease("first")
    assert grants(town) == [("second", "gpu", 6)]


def test_leases_are_granted_by_class_before_arrival_once_several_wait():
    town = a_town()
    town.lease("first", 6)
    town.lease("batch", 6, client="night", class_=Class.BATCH)
    town.lease("person", 6, client="ana", class_=Class.INTERACTIVE)
    town.pass_time(5)
    town.end_lease("first")
    assert town.granted == ["person"]


def test_what_can_never_fit_is_refused_at_once_with_the_arithmetic():
    town = a_town()
    town.lease("train", 11)
    (refusal,) = town.refusals
    assert (refusal.kind, refusal.needs_bytes, refusal.capacity_bytes) == ("cannot_fit", 11, 10)
    assert "the lease needs 11 B (11 bytes), but no more than 10 B (10)" in refusal.message


def test_a_device_that_is_not_there_is_refused():
    town = a_town()
    town.lease("train", 1, device="ghost")
    assert "no device 'ghost'" in town.refusals[0].message


def test_without_a_wish_a_gpu_is_taken_and_the_host_where_there_is_none():
    town = a_town(host(100), gpu("gpu", 10))
    town.lease("train", 6)
    assert grants(town) == [("train", "gpu", 6)]
    alone = a_town(host(100))
    alone.lease("train", 6)
    assert grants(alone) == [("train", "host", 6)]


def test_the_emptier_gpu_is_taken():
    town = a_town(gpu("gpu", 10), gpu("gpu2", 10))
    town.lease("first", 4)
    town.lease("second", 4)
    assert {device for _, grant in town.leases.values() if grant for device in [grant.device]} == {"gpu", "gpu2"}


def test_an_exclusive_lease_gets_all_that_strangers_leave_once_it_is_alone():
    town = a_town()
    town.tell(events.StrangersSeen("gpu", 1))
    engine = loaded(town, "a", 3)
    town.lease("train", exclusive=True)
    town.pass_time(60)
    town.go(engine)
    assert grants(town) == [("train", "gpu", 9)]


def test_nobody_joins_an_exclusive_lease_though_strangers_give_memory_back():
    town = a_town()
    town.tell(events.StrangersSeen("gpu", 5))
    town.lease("train", exclusive=True)
    assert grants(town) == [("train", "gpu", 5)]
    town.tell(events.StrangersSeen("gpu", 0))
    town.lease("small", 1)
    town.pass_time(60)
    assert town.granted == ["train"]
    town.end_lease("train")
    assert town.granted == ["small"]


def test_an_exclusive_lease_waits_for_less_when_strangers_take_more():
    town = a_town()
    town.lease("first", 6)
    town.lease("all", exclusive=True)
    town.tell(events.StrangersSeen("gpu", 4))
    town.end_lease("first")
    assert grants(town) == [("all", "gpu", 6)]


def test_an_exclusive_lease_is_refused_where_a_model_is_pinned():
    town = a_town()
    loaded(town, "a", 3)
    town.tell(events.PinChanged(model="a", pinned=True))
    town.lease("train", exclusive=True)
    (refusal,) = town.refusals
    assert (refusal.needs_bytes, refusal.capacity_bytes) == (10, 7)
    assert "less what is pinned" in refusal.message


def test_who_leaves_the_queue_never_causes_an_eviction():
    town = a_town()
    loaded(town, "a", 8, "question")
    town.lease("train", 6)
    town.end_lease("train")
    town.finish("question")
    town.pass_time(200)
    assert not town.stopping


def test_a_lease_waits_as_long_as_it_says_and_no_longer():
    town = a_town()
    town.lease("first", 6)
    town.lease("second", 6, max_wait_s=5.0)
    town.pass_time(6)
    assert town.ended["second"] == "queue_full"
    town.lease("patient", 6, max_wait_s=1e6)
    town.pass_time(20_000)
    assert "patient" in town.leases


def test_the_client_is_charged_for_its_part_of_the_device_as_time_goes_by():
    town = a_town()
    town.lease("train", 5, client="night")
    town.pass_time(10)
    town.tell(events.TimePassed())
    (view,) = town.scheduler.clients_view()
    assert view.served_s == pytest.approx(5.0)
    town.pass_time(0.5)
    town.end_lease("train")
    assert town.scheduler.clients_view()[0].served_s == pytest.approx(5.25)


def test_a_holder_may_ask_questions_although_its_client_may_have_only_one_at_a_time():
    town = a_town()
    loaded(town, "a", 3)
    town.ask("one", "a", max_concurrent=1)
    town.finish("one")
    town.lease("train", 5)
    town.ask("two", "a", max_concurrent=1)
    assert town.served == ["two"]


def test_what_a_holder_takes_beyond_its_lease_is_promised_to_nobody():
    town = a_town()
    town.lease("train", 4)
    (view,) = town.scheduler.leases_view()
    assert view.engine is not None
    scheduler = town.scheduler
    scheduler.decide(events.EngineMeasured(engine=view.engine, measured_bytes=(("gpu", 7),)), town.now_s)
    assert scheduler.ledger_view()[0].free_bytes == 3
    assert not [
        one
        for one in scheduler.decide(events.LeaseAsked(events.LeaseDemand(id="b", client="x", bytes_=5)), town.now_s)
        if isinstance(one, actions.GrantLease)
    ]
    out = scheduler.decide(events.EngineMeasured(engine=view.engine, measured_bytes=(("gpu", 4),)), town.now_s)
    assert [one.lease for one in out if isinstance(one, actions.GrantLease)] == ["b"]


def test_those_who_wait_see_their_position_and_how_long_it_may_take():
    town = a_town()
    town.lease("first", 6)
    town.pass_time(100)
    town.lease("second", 6)
    town.lease("third", 6)
    held, second, third = town.scheduler.leases_view()
    assert (held.device, held.position, held.predicted_wait_s) == ("gpu", None, None)
    assert (second.position, third.position) == (1, 2)
    assert second.predicted_wait_s is not None
    assert second.predicted_wait_s >= 50


def test_a_lease_is_no_model_to_those_who_look_at_models():
    town = a_town()
    town.lease("first", 6)
    town.lease("second", 6)
    assert town.scheduler.residents_view() == ()
    assert town.scheduler.queue_view() == ()


def test_small_leases_do_not_keep_a_large_one_waiting_for_ever():
    town = a_town()
    town.lease("small-1", 5)
    town.lease("large", 8)
    town.pass_time(60)
    town.lease("small-2", 5)
    assert town.granted == ["small-1", "small-2"], "as long as it has patience the room is not left empty"
    town.pass_time(200)
    town.end_lease("small-1")
    town.lease("small-3", 5)
    assert town.granted == ["small-2"]
    town.end_lease("small-2")
    assert town.granted == ["large"]


def test_a_persons_lease_is_patient_for_no_longer_than_one_who_waits_for_a_model():
    town = a_town()
    town.lease("small-1", 5)
    town.lease("large", 8, class_=Class.INTERACTIVE)
    town.pass_time(PolicySettings().swap_patience_s[0])
    town.lease("small-2", 5)
    assert town.granted == ["small-1"]
    town.end_lease("small-1")
    assert town.granted == ["large"]


def test_a_batch_lease_on_the_host_is_paused_while_people_are_served_and_has_its_share():
    town = a_town(host(100, 2))
    town.lease("train", 6, class_=Class.BATCH)
    town.learn("a", placement(("host", 8), threads=2))
    town.ask("person", "a", class_=Class.INTERACTIVE)
    town.make_ready(town.starting[0])
    assert [one.engine for one in town.out if isinstance(one, actions.PauseEngine)] == ["lease:train#1"]
    resumed = 0
    for _ in range(200):
        town.pass_time(0.05)
        resumed += "lease:train#1" not in town.paused
    assert 15 <= resumed <= 30, "a tenth of ten seconds"
    town.finish("person")
    assert not town.paused


def test_a_lease_on_the_host_with_one_core_computes_beside_others():
    town = a_town(host(100, 2))
    town.lease("train", 6, class_=Class.NORMAL, cores=1)
    town.learn("a", placement(("host", 8), threads=1))
    town.ask("person", "a", class_=Class.INTERACTIVE)
    town.make_ready(town.starting[0])
    assert not town.paused


def test_batch_work_has_its_slots_back_when_an_interactive_lease_ends():
    town = a_town()
    town.lease("person", 2, class_=Class.INTERACTIVE)
    town.learn("a", placement(("gpu", 5), slots=4))
    for number in range(4):
        town.ask(f"r{number}", "a", class_=Class.BATCH)
    town.make_ready(town.starting[0])
    assert len(town.serving) == 2
    town.end_lease("person")
    assert len(town.serving) == 4


def test_a_lease_on_the_host_that_hardly_computes_is_never_paused_and_pauses_nobody():
    town = a_town(host(100, 2))
    town.lease("cache", 6, class_=Class.BATCH, cores=0)
    town.learn("a", placement(("host", 8), threads=2))
    town.ask("person", "a", class_=Class.INTERACTIVE)
    town.make_ready(town.starting[0])
    town.pass_time(10)
    assert not town.paused
