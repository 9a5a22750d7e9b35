from __future__ import annotations

from town import Town, gpu, placement

from partage.domain import Class
from partage.policy import events
from partage.policy.settings import PolicySettings


def flooded(*, ram: int = 100, class_: Class = Class.NORMAL) -> Town:
    """Of two models one fits; "long" is a long answer of a client who had far more than five others."""
    town = Town(PolicySettings(park_budget_bytes=ram), gpu(budget=10, parks=True))
    town.learn("a", placement(("gpu", 8)), load_s=9.0)
    town.learn("b", placement(("gpu", 7)), load_s=9.0)
    for number in range(5):
        town.ask(f"small{number}", "a", f"user{number}")
    town.make_ready("a#1")
    for number in range(5):
        town.finish(f"small{number}")
    town.ask("long", "a", "flood", class_=class_, output_tokens=4000)
    town.pass_time(5.0)
    return town


def wants_b(town: Town, client: str = "user0") -> None:
    town.ask("other", "b", client, class_=Class.INTERACTIVE)
    town.pass_time(30.0)


def set_aside() -> Town:
    """And another client is served in its place."""
    town = flooded()
    wants_b(town)
    town.park_ends("a#1")
    town.make_ready("b#2")
    assert town.serving == {"long": "a#1", "other": "b#2"}
    return town


def comes_back(town: Town) -> None:
    """For who took its place has been served."""
    town.finish("other")
    town.pass_time(20.0)
    for engine in list(town.parking):
        town.park_ends(engine)
    assert town.unparking == {"a#1"}
    town.make_ready("a#1")


def test_what_a_flood_has_begun_is_parked_in_mid_answer_and_comes_back_without_being_asked_for():
    town = set_aside()
    comes_back(town)
    assert town.computing == ["a#1"]
    town.finish("long")
    assert town.ended["long"] == "done"


def test_an_engine_that_serves_somebody_else_too_drains():
    town = flooded()
    town.ask("short", "a", "user1")
    wants_b(town)
    assert not town.parking
    town.finish("short")
    town.pass_time(1.0)
    assert town.parking == {"a#1"}, "only the flood is left"


def test_a_flood_is_not_parked_for_the_same_flood():
    town = flooded()
    wants_b(town, "flood")
    assert not town.parking


def test_where_there_is_no_room_in_ram_a_flood_drains():
    town = flooded(ram=7)
    wants_b(town)
    assert not town.parking
    assert "long" in town.serving


def test_who_has_come_back_computes_for_as_long_as_it_was_copied():
    town = set_aside()
    town.finish("other")
    town.pass_time(20.0)
    for engine in list(town.parking):
        town.park_ends(engine)
    town.scheduler.state.link_rates["gpu"] = 2.0  # four seconds each way
    town.make_ready("a#1")
    town.scheduler.state.link_rates["gpu"] = 2.0
    town.ask("again", "b", "user1", class_=Class.INTERACTIVE)
    town.pass_time(7.0)
    assert not town.parking
    town.pass_time(40.0)
    assert town.parking == {"a#1"}


def test_a_client_that_leaves_meanwhile_is_not_brought_back_for():
    town = set_aside()
    town.finish("long", "cancelled")
    town.finish("other")
    town.pass_time(60.0)
    assert town.parked == {"a#1"}
    assert not town.scheduler.state.unplaced


def test_an_engine_that_dies_in_ram_lets_its_answers_be_asked_for_again():
    town = set_aside()
    town.crash("a#1")
    town.settle()
    assert town.ended["long"] == "done"


def test_an_engine_that_cannot_be_parked_goes_on_and_drains():
    town = flooded()
    wants_b(town)
    town.scheduler.state.link_rates["gpu"] = 2.0
    town.park_ends("a#1", works=False)
    assert "a#1" in town.computing
    town.finish("long")
    town.settle()
    assert town.ended["other"] == "done"


def test_what_is_paused_by_hand_meanwhile_does_not_come_back_until_it_is_let_go():
    town = set_aside()
    town.tell(events.PauseAsked(model="a", paused=True))
    town.finish("other")
    town.pass_time(100.0)
    assert town.parked == {"a#1"}
    town.tell(events.PauseAsked(model="a", paused=False))
    town.settle()
    assert town.ended["long"] == "done"


def test_a_model_that_is_to_leave_does_when_its_answers_are_done():
    town = set_aside()
    town.tell(events.UnloadAsked(model="a"))
    assert not town.stopped
    town.settle()
    assert town.ended["long"] == "done"
    assert not [engine for engine in town.running if engine.startswith("a#")]


def test_a_model_that_is_deleted_is_not_brought_back():
    town = set_aside()
    town.tell(events.ModelForgotten(model="a"))
    assert town.stopped == ["a#1"]
    town.crash("a#1")
    town.settle()
    assert town.ended["long"] == "unknown_model"


def test_what_nothing_made_room_for_is_next_and_ended_at_the_bound_and_its_answers_begin_anew():
    town = set_aside()
    town.tell(events.PinChanged(model="b", pinned=True))
    town.pass_time(town.scheduler.aside_bound_s() - 36.0)
    assert town.scheduler.state.models["a"].aside is not None
    town.pass_time(36.0)
    assert town.stopping == {"a#1"}
    town.crash("a#1")
    assert "long" in town.open
    town.tell(events.PinChanged(model="b", pinned=False))
    town.settle()
    assert town.ended["long"] == "done"


def test_what_falls_silent_is_next_for_memory_after_its_patience():
    town = set_aside()
    town.ask("more", "b", "user1", class_=Class.INTERACTIVE, output_tokens=5000)
    town.pass_time(town.settings.aside_patience_s)
    assert town.scheduler.state.next_up is town.scheduler.state.models["a"]


def test_a_model_that_is_deleted_while_its_engine_is_copied_to_ram_is_not_loaded_for_its_answers():
    town = flooded()
    wants_b(town)
    assert town.parking == {"a#1"}
    town.tell(events.ModelForgotten(model="a"))
    town.learn("a", placement(("gpu", 8)), load_s=9.0)
    town.park_ends("a#1")
    assert town.stopped == ["a#1"]
    town.go("a#1")
    town.finish("long", "failed")
    town.finish("other")
    town.tell(events.UnloadAsked(model="b"))
    town.settle()
    town.pass_time(10.0)
    assert not [engine for engine in town.running if engine.startswith("a#")]


def crowded() -> Town:
    """Beside the flood's batch answer, somebody is served by another engine of the same device: it is paused."""
    town = flooded(class_=Class.BATCH)
    town.learn("c", placement(("gpu", 1)))
    town.ask("person", "c", "user4", class_=Class.INTERACTIVE)
    town.make_ready("c#2")
    assert set(town.paused) == {"a#1"}
    return town


def test_what_is_paused_for_people_runs_while_it_is_copied_and_is_paused_again_when_it_is_back():
    town = crowded()
    wants_b(town)
    assert (town.parking, set(town.paused)) == ({"a#1"}, set()), "the driver needs it running"
    town.park_ends("a#1")
    town.make_ready("b#3")
    assert not town.paused
    comes_back(town)
    assert set(town.paused) == {"a#1"}
    town.finish("person")
    assert not town.paused


def test_what_it_was_silent_for_is_not_taken_for_work_also_where_it_was_paused_by_hand_meanwhile():
    town = set_aside()
    a = town.scheduler.state.models["a"].parked
    assert a is not None
    since_s = a.parked_at_s
    town.tell(events.PauseAsked(model="a", paused=True))
    town.pass_time(100.0)
    town.tell(events.PauseAsked(model="a", paused=False))
    comes_back(town)
    assert a.paused_s == town.now_s - since_s


def test_a_model_that_somebody_asks_for_again_after_it_was_to_leave_stays():
    town = set_aside()
    town.tell(events.UnloadAsked(model="a"))
    town.ask("again", "a", "user2")
    comes_back(town)
    town.finish("long")
    town.finish("again")
    assert not town.stopping
