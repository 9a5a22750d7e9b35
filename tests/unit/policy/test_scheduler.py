from __future__ import annotations

import pytest
from town import Town, gpu, host, placement

from partage.domain import Class
from partage.policy import events
from partage.policy.settings import PolicySettings


def two_that_exclude_each_other(settings: PolicySettings | None = None, *, slots: int = 2, load_s: float = 2.0) -> Town:
    town = Town(settings, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 8), slots=slots), load_s=load_s)
    town.learn("b", placement(("gpu", 8), slots=slots), load_s=load_s)
    return town


def loaded(town: Town, model: str = "a", request: str = "first") -> str:
    """The engine of a model that has just served one request."""
    town.ask(request, model)
    (engine,) = town.started
    town.make_ready(engine)
    town.finish(request)
    return engine


def test_first_request_loads_its_model_and_is_served_when_it_is_ready() -> None:
    town = two_that_exclude_each_other()
    town.ask("1", "a")
    assert town.started == ["a#1"]
    town.make_ready("a#1")
    assert town.served == ["1"]


def test_alternating_models_each_get_their_turn() -> None:
    town = two_that_exclude_each_other()
    loaded(town)
    town.pass_time(60.0)
    town.ask("2", "b")
    assert town.stopped == ["a#1"]
    town.go("a#1")
    assert town.started == ["b#2"]
    town.make_ready("b#2")
    assert town.served == ["2"]


def test_both_models_stay_where_both_fit() -> None:
    town = Town(None, gpu("gpu", 20))
    town.learn("a", placement(("gpu", 8)))
    town.learn("b", placement(("gpu", 8)))
    loaded(town, "a", "1")
    town.ask("2", "b")
    assert town.started
    assert not town.stopped


def test_busy_model_is_drained_not_stopped_and_takes_nothing_new() -> None:
    town = two_that_exclude_each_other()
    town.ask("long", "a", output_tokens=1000)
    town.make_ready("a#1")
    town.ask("other", "b", "you")
    town.pass_time(150.0)
    town.ask("late", "a", "you", output_tokens=1000, class_=Class.NORMAL)
    assert "late" not in town.serving
    town.finish("long")
    assert town.stopped == ["a#1"]
    town.settle()
    assert town.ended.keys() >= {"late", "other"}


def test_always_busy_model_cannot_keep_another_out_for_longer_than_patience() -> None:
    """In Ollama and llama-swap requests for a loaded model pass those that wait, for ever."""
    town = two_that_exclude_each_other(slots=1)
    town.ask("0", "a")
    town.make_ready("a#1")
    town.ask("patient", "b", "you")
    for number in range(1, 200):
        town.ask(str(number), "a")
        town.pass_time(1.0)
        for request in list(town.serving):
            town.finish(request)
        for engine in list(town.stopping):
            town.go(engine)
        for engine in town.starting:
            town.make_ready(engine)
        if "patient" in town.ended:
            break
    assert town.now_s <= PolicySettings().patience_s[Class.NORMAL]
    assert town.ended["patient"] == "done"


def test_small_model_is_not_held_up_behind_one_that_must_wait_for_room() -> None:
    town = Town(None, gpu("gpu", 10))
    for name, size in (("large", 8), ("other", 8), ("small", 1)):
        town.learn(name, placement(("gpu", size)))
    town.ask("1", "large")
    town.make_ready("large#1")
    town.ask("2", "other")
    town.ask("3", "small")
    assert town.started == ["small#2"]


def test_client_that_leaves_the_queue_never_causes_a_load() -> None:
    town = two_that_exclude_each_other()
    town.ask("1", "a")
    town.make_ready("a#1")
    town.ask("2", "b", "you")
    town.finish("2", "cancelled")
    town.finish("1")
    town.pass_time(200.0)
    assert all(engine.startswith("a") for engine in town.running)


def test_planned_swap_is_dropped_when_nobody_waits_for_it_any_more() -> None:
    town = two_that_exclude_each_other()
    town.ask("1", "a")
    town.make_ready("a#1")
    town.ask("2", "b", "you")
    town.pass_time(250.0)
    (resident,) = town.scheduler.residents_view()
    assert resident.gated
    town.finish("2", "cancelled")
    (resident,) = town.scheduler.residents_view()
    assert not resident.gated
    town.ask("3", "a")
    assert town.served == ["3"]


def test_cheapest_victim_leaves_and_never_one_that_does_not_help() -> None:
    town = Town(None, gpu("gpu", 10))
    for name, size in (("small", 1), ("rare", 4), ("busy", 4), ("new", 5)):
        town.learn(name, placement(("gpu", size)))
    for request, name in enumerate(("small", "rare", "busy")):
        loaded(town, name, f"first{request}")
    for number in range(10):
        town.pass_time(5.0)
        town.ask(f"b{number}", "busy")
        town.finish(f"b{number}")
    town.ask("n", "new")
    town.pass_time(20.0)
    assert town.stopping == {"rare#2"}


def test_pinned_model_is_loaded_unasked_and_never_a_victim() -> None:
    town = two_that_exclude_each_other()
    town.tell(events.PinChanged(model="a", pinned=True))
    (engine,) = town.started
    town.make_ready(engine)
    town.ask("1", "b")
    (refusal,) = town.refusals
    assert (refusal.kind, refusal.needs_bytes, refusal.capacity_bytes) == ("cannot_fit", 8, 2)


def test_keep_alive_for_ever_pins_only_what_leaves_room_for_others() -> None:
    town = Town(None, gpu("gpu", 10))
    town.learn("modest", placement(("gpu", 4)))
    town.learn("greedy", placement(("gpu", 6)))
    for name in ("modest", "greedy"):
        town.ask(name, name, keep_alive_s=-1.0)
        town.make_ready(town.started[0])
        town.finish(name)
    assert {one.model: one.pinned for one in town.scheduler.residents_view()} == {"modest": True, "greedy": False}


def test_model_that_had_to_leave_comes_back_when_memory_is_free() -> None:
    town = two_that_exclude_each_other(PolicySettings(keep_alive_s=1.0))
    town.ask("0", "a")
    town.make_ready("a#1")
    for number in range(12):
        town.finish(str(number), "done")
        town.pass_time(0.5)
        town.ask(str(number + 1), "a")
    town.ask("b", "b", "you")
    town.pass_time(300.0)
    town.finish("12")
    town.go("a#1")
    (engine,) = town.started
    town.make_ready(engine)
    town.finish("b")
    town.pass_time(1.5)
    town.go(engine)
    assert [one.partition("#")[0] for one in town.started] in (["a"], [])


def waiting_line(**settings: object) -> Town:
    """One slot, taken; whoever asks now waits."""
    town = Town(PolicySettings(**settings), gpu("gpu", 10))  # type: ignore[arg-type]
    town.learn("a", placement(("gpu", 8), slots=1))
    town.ask("running", "a", "nobody", output_tokens=0)
    town.make_ready("a#1")
    return town


def order_of(town: Town, first: str = "running") -> list[str]:
    order: list[str] = []
    current = first
    while town.serving:
        town.finish(current, output_tokens=town.scheduler.state.requests[current].demand.output_tokens)
        order += town.served
        current = order[-1]
    return order


def test_people_go_before_jobs() -> None:
    town = waiting_line()
    town.ask("job", "a", "x", class_=Class.BATCH)
    town.ask("person", "a", "y", class_=Class.INTERACTIVE)
    assert order_of(town) == ["person", "job"]


def test_jobs_get_their_share_however_many_people_wait() -> None:
    town = waiting_line()
    for number in range(40):
        town.ask(f"person{number}", "a", "people", class_=Class.INTERACTIVE, output_tokens=100)
    for number in range(3):
        town.ask(f"job{number}", "a", "jobs", class_=Class.BATCH, output_tokens=100)
    order = order_of(town)
    assert order.index("job0") <= 12
    assert order.index("job1") <= 24


def test_client_that_received_least_goes_first() -> None:
    town = waiting_line()
    for number in range(6):
        town.ask(f"flood{number}", "a", "flood", output_tokens=100)
    town.ask("one", "a", "light", output_tokens=100)
    assert order_of(town).index("one") <= 1


def test_weight_doubles_the_share() -> None:
    town = waiting_line()
    for number in range(12):
        town.ask(f"heavy{number}", "a", "heavy", weight=2.0, output_tokens=100)
        town.ask(f"light{number}", "a", "light", weight=1.0, output_tokens=100)
    first = order_of(town)[:12]
    assert sum(one.startswith("heavy") for one in first) == 8


def test_idling_saves_nothing_up() -> None:
    town = waiting_line()
    for number in range(4):
        town.ask(f"steady{number}", "a", "steady", output_tokens=1000)
    for number in range(4):
        current = next(iter(town.serving))
        town.finish(current, output_tokens=1000)
        if number == 2:
            for fresh in range(4):
                town.ask(f"fresh{fresh}", "a", "back from idle", output_tokens=1000)
                town.ask(f"more{fresh}", "a", "steady", output_tokens=1000)
    assert order_of(town, next(iter(town.serving)))[:2] != ["fresh1", "fresh2"]


def test_deadline_passes_the_fair_order_within_the_slack() -> None:
    town = waiting_line()
    town.ask("first", "a", "x", output_tokens=10)
    town.ask("urgent", "a", "y", output_tokens=10, deadline_at_s=5.0)
    assert order_of(town) == ["urgent", "first"]


def test_late_requests_go_behind_those_that_can_be_in_time_until_patience_ends() -> None:
    town = waiting_line()
    town.ask("late", "a", "x", class_=Class.INTERACTIVE)
    town.pass_time(20.0)
    town.ask("timely", "a", "y", class_=Class.INTERACTIVE)
    town.finish("running")
    assert town.served == ["timely"]
    town.pass_time(290.0)
    town.ask("newer", "a", "x", class_=Class.INTERACTIVE)
    town.finish("timely")
    assert town.served == ["late"]


def test_own_limit_of_concurrency_lets_others_pass() -> None:
    town = Town(None, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 8), slots=3))
    loaded(town)
    town.ask("1", "a", "x", max_concurrent=1)
    town.ask("2", "a", "x", max_concurrent=1)
    town.ask("3", "a", "y")
    assert set(town.serving) == {"1", "3"}
    town.finish("1")
    assert town.served == ["2"]


def test_jobs_leave_a_slot_free_where_people_come() -> None:
    town = Town(None, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 8), slots=4))
    town.ask("person", "a", class_=Class.INTERACTIVE)
    town.make_ready("a#1")
    for number in range(6):
        town.ask(f"job{number}", "a", "jobs", class_=Class.BATCH)
    assert len(town.serving) == 3  # beside a person, half of the slots
    town.finish("person")
    assert sorted(town.serving) == ["job0", "job1", "job2"]


def test_unknown_model_is_refused() -> None:
    town = two_that_exclude_each_other()
    town.ask("1", "ghost")
    assert town.ended == {"1": "unknown_model"}


def test_full_queue_is_told_when_to_come_back() -> None:
    town = two_that_exclude_each_other(PolicySettings(queue_limit=1))
    town.ask("1", "a")
    town.ask("2", "a")
    (refusal,) = town.refusals
    assert refusal.kind == "queue_full"
    assert refusal.retry_after_s is not None
    assert refusal.retry_after_s > 0


def test_hard_deadline_out_of_reach_is_refused_at_once() -> None:
    town = two_that_exclude_each_other(load_s=10.0)
    town.ask("1", "a", deadline_at_s=5.0, hard_deadline=True)
    assert town.ended == {"1": "deadline"}
    assert not town.running


def test_hard_deadline_that_passes_in_the_queue_ends_the_waiting() -> None:
    town = waiting_line()
    town.ask("1", "a", deadline_at_s=50.0, hard_deadline=True)
    town.pass_time(51.0)
    assert town.ended["1"] == "deadline"


def test_no_request_waits_longer_than_the_exported_bound() -> None:
    town = waiting_line(max_wait_s=(10.0, 20.0, 30.0))
    for class_ in Class:
        town.ask(class_.name, "a", class_=class_)
    town.pass_time(31.0)
    assert [town.ended[class_.name] for class_ in Class] == ["queue_full"] * 3


def test_what_can_never_fit_is_refused_with_the_arithmetic() -> None:
    town = Town(None, gpu("gpu", 10))
    town.learn("huge", placement(("gpu", 11)))
    town.ask("1", "huge")
    (refusal,) = town.refusals
    assert (refusal.kind, refusal.needs_bytes, refusal.capacity_bytes) == ("cannot_fit", 11, 10)


def test_context_that_no_placement_has_is_refused() -> None:
    town = two_that_exclude_each_other()
    town.ask("1", "a", context_tokens=100_000)
    assert town.ended == {"1": "cannot_fit"}


def test_longer_context_replaces_the_engine_once_it_has_drained() -> None:
    town = Town(None, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 5), context=4096), placement(("gpu", 9), context=32768))
    loaded(town)
    town.ask("long", "a", context_tokens=20_000)
    town.pass_time(30.0)
    assert town.stopping == {"a#1"}
    town.go("a#1")
    town.make_ready(town.started[0])
    assert "long" in town.serving


def test_a_pinned_model_is_exchanged_for_itself_with_a_longer_context() -> None:
    """A pin says that the model stays, not that its context does: those who need more would wait until refused."""
    town = Town(None, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 4), context=4096), placement(("gpu", 6), context=32768))
    loaded(town)
    town.tell(events.PinChanged(model="a", pinned=True))
    town.ask("long", "a", context_tokens=20_000)
    town.pass_time(30.0)
    assert town.stopping == {"a#1"}
    town.go("a#1")
    town.make_ready(town.started[0])
    assert "long" in town.serving


def test_load_only_is_answered_when_the_model_is_ready_and_takes_no_slot() -> None:
    town = two_that_exclude_each_other(slots=1)
    town.ask("load", "a", load_only=True)
    town.ask("work", "a")
    town.make_ready("a#1")
    assert town.served == ["load", "work"]


def test_start_that_fails_is_tried_again_later_and_at_last_refused() -> None:
    town = two_that_exclude_each_other()
    town.ask("1", "a")
    starts = 1
    town.fail("a#1")
    while "1" not in town.ended:
        town.pass_time(1.0)
        for engine in town.starting:
            starts += 1
            town.fail(engine)
    assert starts == PolicySettings().start_attempts
    assert town.ended["1"] == "start_failed"


def test_out_of_memory_is_learned_and_the_smaller_placement_tried_at_once() -> None:
    town = Town(None, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 9)), placement(("gpu", 5)))
    town.ask("1", "a")
    town.fail("a#1", out_of_memory=True)
    assert town.running["a#2"].placement.total_bytes == 5


def test_crash_puts_the_served_back_in_their_place_and_starts_again() -> None:
    town = two_that_exclude_each_other(slots=1)
    town.ask("1", "a", "x")
    town.make_ready("a#1")
    town.ask("2", "a", "y")
    town.crash("a#1")
    town.pass_time(2.0)
    town.make_ready(town.starting[0])
    assert town.served == ["1"]


def test_what_a_dead_engine_made_of_an_answer_is_paid_once_and_its_second_making_again() -> None:
    town = two_that_exclude_each_other(slots=1)
    town.learn("a", placement(("gpu", 6), slots=1), decode_tokens_per_s=10.0)
    costs_s: list[float] = []
    for dropped_tokens in (0, 20):
        town.ask(f"{dropped_tokens}", "a", f"client {dropped_tokens}", output_tokens=100)
        town.make_ready(town.starting[0])
        town.crash(next(iter(town.running)), dropped_tokens=dropped_tokens)
        costs_s.append(_received_s(town, f"client {dropped_tokens}"))
        town.pass_time(2.0)
        town.make_ready(town.starting[0])
        town.finish(f"{dropped_tokens}", output_tokens=30)
        costs_s.append(_received_s(town, f"client {dropped_tokens}"))
        town.go(next(iter(town.running)))
    assert costs_s == pytest.approx([0.0, 3.0, 2.0, 5.0])


def _received_s(town: Town, client: str) -> float:
    return next(one.served_s for one in town.scheduler.clients_view() if one.name == client)


def test_engine_that_crashes_again_and_again_is_given_up() -> None:
    town = two_that_exclude_each_other()
    town.ask("1", "a")
    for _ in range(PolicySettings().start_attempts):
        town.pass_time(100.0)
        town.make_ready(town.starting[0])
        town.crash(next(iter(town.running)))
    town.pass_time(100.0)
    assert town.running == {} or "1" in town.ended


def test_memory_that_strangers_take_is_never_given_out() -> None:
    town = two_that_exclude_each_other()
    town.tell(events.StrangersSeen("gpu", 5))
    town.ask("1", "a")
    assert not town.started
    town.tell(events.StrangersSeen("gpu", 0))
    assert town.started == ["a#1"]


def test_strangers_that_stay_make_it_impossible_and_it_is_said_at_once() -> None:
    town = two_that_exclude_each_other()
    for _ in range(5):
        town.tell(events.StrangersSeen("gpu", 5))
        town.pass_time(20.0)
    town.ask("1", "a")
    assert town.ended == {"1": "cannot_fit"}


def test_measured_memory_replaces_the_estimate() -> None:
    town = two_that_exclude_each_other()
    town.ask("1", "a")
    town.ready.add("a#1")
    town.scheduler.decide(events.EngineReady(engine="a#1", load_s=1.0, measured_bytes=(("gpu", 6),)), 1.0)
    (view,) = town.scheduler.ledger_view()
    assert (view.residents_bytes, view.free_bytes) == (6, 4)


def test_what_a_planned_load_will_need_beyond_its_victims_is_shown_as_promised() -> None:
    town = Town(None, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 5)))
    town.learn("b", placement(("gpu", 8)))
    loaded(town)
    town.pass_time(60.0)
    assert town.scheduler.ledger_view()[0].promised_bytes == 0
    town.ask("2", "b")
    assert town.stopped == ["a#1"]
    (view,) = town.scheduler.ledger_view()
    assert (view.free_bytes, view.promised_bytes) == (5, 3)
    town.go("a#1")
    (view,) = town.scheduler.ledger_view()
    assert (view.loading_bytes, view.promised_bytes) == (8, 0)


def test_idle_model_leaves_after_its_keep_alive() -> None:
    town = two_that_exclude_each_other(PolicySettings(keep_alive_s=60.0))
    loaded(town)
    town.pass_time(59.0)
    assert not town.stopping
    town.pass_time(2.0)
    assert town.stopping == {"a#1"}


def test_keep_alive_zero_stops_it_after_the_answer_but_not_under_others() -> None:
    town = two_that_exclude_each_other()
    town.ask("1", "a", keep_alive_s=0.0)
    town.make_ready("a#1")
    town.ask("2", "a", keep_alive_s=0.0)
    town.finish("1")
    assert not town.stopping
    town.finish("2")
    assert town.stopping == {"a#1"}


def test_unload_waits_until_nobody_is_served() -> None:
    town = two_that_exclude_each_other()
    town.ask("1", "a")
    town.make_ready("a#1")
    town.tell(events.UnloadAsked(model="a"))
    assert not town.stopping
    town.finish("1")
    assert town.stopping == {"a#1"}


def test_deleted_model_refuses_who_waits_and_leaves() -> None:
    town = waiting_line()
    town.ask("1", "a")
    town.tell(events.ModelForgotten("a"))
    assert town.ended["1"] == "unknown_model"
    town.finish("running")
    assert town.stopping == {"a#1"}


def test_second_model_goes_to_the_emptier_gpu() -> None:
    town = Town(None, gpu("gpu0", 10), gpu("gpu1", 10))
    for name in "ab":
        town.learn(name, placement(("gpu0", 4)), placement(("gpu1", 4)))
    loaded(town, "a", "1")
    town.ask("2", "b")
    assert town.running["b#2"].placement.shares[0][0] == "gpu1"


def test_slow_placement_is_taken_only_after_patience() -> None:
    town = Town(None, gpu("gpu", 10), host(100))
    town.learn("a", placement(("gpu", 8)), load_s=1.0, pinned=True)
    town.learn("b", placement(("gpu", 8)), placement(("host", 8), speed=0.1), load_s=1.0)
    town.make_ready("a#1")
    town.ask("1", "b", class_=Class.INTERACTIVE)
    assert not town.started
    town.pass_time(PolicySettings().patience_s[0] + 1)
    assert [one for one in town.running if one.startswith("b")]


@pytest.mark.parametrize("count", [1, 50])
def test_views_show_the_queue_with_places_and_predictions(count: int) -> None:
    town = waiting_line()
    for number in range(count):
        town.ask(f"w{number}", "a", output_tokens=50)
    views = town.scheduler.queue_view()
    assert [view.position for view in views] == list(range(1, count + 1))
    assert [view.predicted_wait_s for view in views] == sorted(view.predicted_wait_s for view in views)
    clients = {view.name: view for view in town.scheduler.clients_view()}
    assert (clients["me"].queued, clients["nobody"].serving) == (count, 1)


def three_of_which_two_fit() -> Town:
    town = Town(None, gpu("gpu", 16))
    for name in ("a", "b", "c"):
        town.learn(name, placement(("gpu", 8), slots=2))
    return town


def test_another_leaves_in_the_place_of_a_victim_that_drains_for_too_long() -> None:
    town = three_of_which_two_fit()
    town.ask("one", "a", output_tokens=1000)
    town.make_ready("a#1")
    town.ask("two", "b", output_tokens=1000)
    town.make_ready("b#2")
    town.ask("other", "c", "you", class_=Class.INTERACTIVE)
    town.pass_time(60.0)
    (draining,) = [one for one in town.scheduler.state.residents.values() if one.gated]
    request, idle = ("one", "a#1") if draining.engine == "b#2" else ("two", "b#2")
    town.finish(request)
    assert town.stopped == [idle]
    assert not draining.gated


def flooded() -> Town:
    """A flood is served by "a", in both slots, and held back there while somebody else waits for "c"."""
    town = three_of_which_two_fit()
    for number in range(9):
        town.ask(f"few{number}", "b", f"client{number}", output_tokens=10)
    town.make_ready("b#1")
    for number in range(9):
        town.finish(f"few{number}")
    for number in range(40):
        town.ask(f"many{number}", "a", "flood", output_tokens=500)
    town.make_ready("a#2")
    for number in range(10):
        town.pass_time(1.0)
        town.finish(f"many{number}", output_tokens=500)
    town.ask("mine", "b", "flood", output_tokens=500)
    assert "mine" in town.serving
    town.ask("few", "c", "client1", class_=Class.INTERACTIVE)
    town.pass_time(30.0)
    assert town.scheduler.state.plans
    return town


def test_who_floods_takes_nothing_new_while_others_wait_for_memory() -> None:
    town = flooded()
    town.finish("many10", output_tokens=500)
    assert not [one for one in town.served if one.startswith("many")]
    town.settle()
    assert not town.open


def held_on_b(town: Town) -> str:
    """A slot of the engine that need not leave is free, and who waits for it is held back."""
    (plan,) = town.scheduler.state.plans
    assert [victim.engine for victim in plan.victims] == ["a#2"]
    town.ask("held", "b", "flood", output_tokens=500)
    assert "held" not in town.serving
    return "held"


def test_who_floods_is_served_again_once_nobody_else_waits_though_the_swap_goes_on() -> None:
    town = flooded()
    held = held_on_b(town)
    town.ask("too", "c", "flood", output_tokens=500)
    town.finish("few", "cancelled")
    assert town.scheduler.state.plans
    assert held in town.serving


def test_who_no_longer_floods_is_served_though_the_swap_goes_on() -> None:
    town = flooded()
    town.ask("long", "b", "client2", output_tokens=10)
    town.finish("mine", output_tokens=500)
    held = held_on_b(town)
    for tokens in (50_000, 100_000):  # far more than was expected: now the others have had as much
        town.tell(events.RequestProgressed(request="long", output_tokens=tokens))
    assert town.scheduler.state.plans
    assert held in town.serving


def test_small_models_taking_turns_cannot_keep_a_large_one_out() -> None:
    """Room for two small ones: one of them is always new, and has yet to serve who called it."""
    town = Town(None, gpu("gpu", 10))
    for name in ("a", "b", "c", "d"):
        town.learn(name, placement(("gpu", 5), slots=1), load_s=2.0)
    town.learn("large", placement(("gpu", 10)), load_s=2.0)
    town.ask("0", "a", class_=Class.INTERACTIVE)
    town.ask("patient", "large", "you", class_=Class.INTERACTIVE)
    for number in range(1, 100):
        town.ask(str(number), "abcd"[number % 4], class_=Class.INTERACTIVE)
        town.pass_time(1.0)
        for request in list(town.serving):
            town.finish(request)
        for engine in list(town.stopping):
            town.go(engine)
        if number % 2:
            for engine in set(town.running) - town.ready - town.stopping:
                town.make_ready(engine)
        if [one for one in town.running if one.startswith("large")]:
            break
    assert town.now_s < PolicySettings().swap_patience_s[0] + 10


def test_batch_work_takes_no_memory_while_a_person_waits_for_it() -> None:
    town = Town(None, gpu("gpu", 10))
    town.learn("busy", placement(("gpu", 6)), load_s=2.0)
    town.learn("idle", placement(("gpu", 4)), load_s=2.0)
    town.learn("large", placement(("gpu", 10)), load_s=2.0)
    town.learn("pages", placement(("gpu", 4)), load_s=2.0)
    for name in ("busy", "idle"):
        town.ask(name, name, class_=Class.INTERACTIVE, output_tokens=5000)
        town.make_ready(f"{name}#{town.scheduler.state.starts}")
    town.finish("idle")
    town.ask("person", "large", "you", class_=Class.INTERACTIVE)
    for number in range(100):
        town.ask(f"page{number}", "pages", "documents", class_=Class.BATCH)
    town.pass_time(20.0)
    assert not town.stopping
    town.finish("person", "cancelled")
    town.pass_time(20.0)
    assert town.stopping == {"idle#2"}


def test_victim_that_dies_while_another_drains_serves_nobody() -> None:
    town = Town(None, gpu("gpu", 16))
    for name in ("a", "b"):
        town.learn(name, placement(("gpu", 8), slots=2))
    town.learn("large", placement(("gpu", 16)))
    town.ask("first", "a", output_tokens=1500)
    town.make_ready("a#1")
    town.ask("second", "b", output_tokens=9000)
    town.make_ready("b#2")
    town.ask("large", "large", "you", class_=Class.INTERACTIVE)
    town.pass_time(40.0)
    assert all(resident.gated for resident in town.scheduler.state.residents.values())
    town.crash("a#1")
    town.ask("short", "a", class_=Class.INTERACTIVE, output_tokens=10)
    town.pass_time(60.0)
    assert "short" not in town.serving
    town.finish("second")
    town.settle()
    assert not town.open


def test_client_at_its_limit_is_served_elsewhere_once_a_request_of_it_is_refused_for_its_crashes() -> None:
    town = Town(None, gpu("gpu", 16))
    for name in ("a", "b"):
        town.learn(name, placement(("gpu", 8)))
    loaded(town, "b")
    town.ask("killer", "a", max_concurrent=1)
    for crash in range(3):
        town.pass_time(20.0)
        (engine,) = town.starting
        town.make_ready(engine)
        if crash == 2:
            town.ask("patient", "b", max_concurrent=1)
            assert not town.served
        town.crash(engine)
    assert town.ended["killer"] == "start_failed"
    assert "patient" in town.served


def test_longer_context_that_is_asked_for_while_victims_drain_is_what_is_loaded() -> None:
    town = Town(None, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 8)))
    town.learn("b", placement(("gpu", 6), context=4096), placement(("gpu", 9), context=8192))
    loaded(town)
    town.ask("long", "a", class_=Class.BATCH)
    town.ask("short", "b", "you", class_=Class.INTERACTIVE)
    town.pass_time(60.0)
    assert town.scheduler.state.plans
    town.ask("wide", "b", "you", class_=Class.INTERACTIVE, context_tokens=8192)
    town.finish("short", "cancelled")
    town.finish("long")
    town.go("a#1")
    (engine,) = town.started
    town.make_ready(engine)
    assert town.served == ["wide"]


def two_busy_gpus() -> Town:
    town = Town(None, gpu("gpu1", 10), gpu("gpu2", 10))
    town.learn("a", placement(("gpu1", 8)))
    town.learn("b", placement(("gpu2", 8)))
    town.learn("c", placement(("gpu1", 8)), placement(("gpu2", 8)))
    for model in "ab":
        loaded(town, model, f"first {model}")
        town.ask(f"long {model}", model, class_=Class.BATCH)
    town.ask("person", "c", "you", class_=Class.INTERACTIVE)
    town.pass_time(60.0)
    return town


def gated(town: Town) -> list[str]:
    return [engine for engine, resident in town.scheduler.state.residents.items() if resident.gated]


def test_room_is_made_for_a_model_in_one_place_only() -> None:
    town = two_busy_gpus()
    town.ask("other", "c", "you", class_=Class.INTERACTIVE)
    assert len(gated(town)) == 1


def test_victim_goes_on_when_its_room_is_no_longer_needed_because_another_became_free() -> None:
    town = two_busy_gpus()
    (victim,) = gated(town)
    other = next(one for one in town.running if one != victim)
    town.crash(other)
    assert [engine for engine in town.starting if engine.startswith("c")]
    assert not gated(town)
