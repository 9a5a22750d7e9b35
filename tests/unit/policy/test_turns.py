from __future__ import annotations

import pytest
from town import Town, gpu, host, placement

from partage.domain import Class
from partage.policy import actions, events
from partage.policy.settings import PolicySettings

SETTINGS = PolicySettings()
WINDOW_S, SLICE_S = SETTINGS.share_window_s, SETTINGS.slice_s
PEOPLE, NORMAL, BATCH = Class.INTERACTIVE, Class.NORMAL, Class.BATCH


def on_two_cores(*names: str, threads: int = 2, slots: int = 2) -> Town:
    town = Town(None, host(100, cores=2))
    for name in names:
        town.learn(name, placement(("host", 10), slots=slots, threads=threads))
        ready(town, name)
    return town


def on_one_gpu(*names: str) -> Town:
    town = Town(None, gpu("gpu", 100))
    for name in names:
        town.learn(name, placement(("gpu", 10), slots=4))
        ready(town, name)
    return town


def ready(town: Town, model: str) -> None:
    town.ask(f"load {model}", model, load_only=True)
    town.make_ready(engine(town, model))
    town.finish(f"load {model}")


def engine(town: Town, model: str) -> str:
    return next(one for one in town.running if one.startswith(f"{model}#"))


def models(engines: object) -> str:
    return "".join(sorted(str(one)[0] for one in engines))  # type: ignore[attr-defined]


def shares(town: Town, seconds: float) -> dict[str, float]:
    """Part of the time in which each model computed."""
    town.tell(events.TimePassed())
    before = dict(town.computed_s)
    for _ in range(round(seconds / 0.05)):
        town.pass_time(0.05)
        town.tell(events.TimePassed())
    return {one[0]: (town.computed_s[one] - before.get(one, 0.0)) / seconds for one in town.computed_s}


def test_people_compute_at_once_and_batch_work_is_paused_meanwhile() -> None:
    town = on_two_cores("a", "b")
    town.ask("job", "b", class_=BATCH)
    town.pass_time(5.0)
    town.ask("chat", "a", class_=PEOPLE)
    assert models(town.computing) == "a"
    assert models(town.paused) == "b"
    town.finish("chat")
    assert models(town.computing) == "b"


def test_short_interactive_burst_is_never_interrupted() -> None:
    town = on_two_cores("a", "b")
    town.ask("job", "b", class_=BATCH)
    town.pass_time(5.0)
    town.ask("chat", "a", class_=PEOPLE)
    assert shares(town, 0.85 * WINDOW_S)["a"] == pytest.approx(1.0)


def test_batch_has_its_share_of_every_window_in_one_slice_however_much_people_ask() -> None:
    town = on_two_cores("a", "b")
    town.ask("job", "b", class_=BATCH)
    town.ask("chat", "a", class_=PEOPLE)
    town.pass_time(WINDOW_S)
    for _ in range(10):
        pauses = 0
        town.tell(events.TimePassed())
        before = town.computed_s[engine(town, "b")]
        for _ in range(40):
            town.pass_time(WINDOW_S / 40)
            town.tell(events.TimePassed())
            pauses += bool(town.paused.get(engine(town, "b")) == town.now_s)
        assert town.computed_s[engine(town, "b")] - before == pytest.approx(0.1 * WINDOW_S, abs=0.06)
        assert pauses <= 1


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"a": PEOPLE, "b": BATCH}, {"a": 0.9, "b": 0.1}),
        ({"a": PEOPLE, "b": NORMAL}, {"a": 0.8, "b": 0.2}),
        ({"a": NORMAL, "b": BATCH}, {"a": 0.9, "b": 0.1}),
        ({"a": PEOPLE, "b": NORMAL, "c": BATCH}, {"a": 0.7, "b": 0.2, "c": 0.1}),
        ({"a": PEOPLE, "b": BATCH, "c": BATCH}, {"a": 0.9, "b": 0.05, "c": 0.05}),
        ({"a": PEOPLE, "b": PEOPLE, "c": PEOPLE}, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}),
    ],
)
def test_shares_of_the_cores_under_permanent_load(asked: dict[str, Class], expected: dict[str, float]) -> None:
    town = on_two_cores(*asked)
    for model, class_ in asked.items():
        town.ask(f"for {model}", model, class_=class_)
    town.pass_time(2 * WINDOW_S)
    got = shares(town, 30 * WINDOW_S)
    assert got == {model: pytest.approx(share, abs=0.02) for model, share in expected.items()}
    assert sum(got.values()) == pytest.approx(1.0)


def test_time_nobody_else_wanted_counts_for_the_share() -> None:
    town = on_two_cores("a", "b")
    town.ask("job", "b", class_=BATCH)
    for number in range(20):
        town.ask(f"chat{number}", "a", class_=PEOPLE)
        assert shares(town, 1.5)["a"] == pytest.approx(1.0)
        town.finish(f"chat{number}")
        town.pass_time(0.3)


def test_engine_that_comes_from_idle_has_its_turn_at_once_and_saved_nothing_up() -> None:
    town = on_two_cores("a", "b")
    town.ask("long", "a")
    town.pass_time(100.0)
    town.ask("short", "b")
    assert models(town.computing) == "b"
    town.pass_time(3 * SLICE_S)
    assert shares(town, 20.0) == {"a": pytest.approx(0.5, abs=0.02), "b": pytest.approx(0.5, abs=0.02)}


def test_engine_that_comes_again_and_again_does_not_starve_one_that_goes_on() -> None:
    town = on_two_cores("a", "b")
    town.ask("long", "a")
    for number in range(100):
        town.ask(f"short{number}", "b")
        town.pass_time(0.1)
        town.finish(f"short{number}")
    assert town.computed_s[engine(town, "a")] > 3.0


def test_turn_lasts_a_slice() -> None:
    town = on_two_cores("a", "b")
    town.ask("one", "a")
    town.ask("two", "b")
    town.pass_time(4 * SLICE_S)
    turns: list[float] = []
    since_s, who = town.now_s, town.computing
    while len(turns) < 6:
        town.pass_time(0.01)
        if town.computing != who:
            turns.append(town.now_s - since_s)
            since_s, who = town.now_s, town.computing
    assert turns[1:] == [pytest.approx(SLICE_S, abs=0.02)] * 5


def test_engines_with_few_threads_compute_together() -> None:
    town = on_two_cores("a", "b", "c", threads=1)
    town.ask("one", "a", class_=PEOPLE)
    town.ask("two", "b", class_=NORMAL)
    assert not town.paused
    town.ask("three", "c", class_=PEOPLE)
    assert models(town.computing) == "ac"


def test_batch_work_is_paused_beside_people_though_it_would_fit_and_has_its_share_beside_them() -> None:
    town = on_two_cores("a", "b", threads=1)
    town.ask("person", "a", class_=PEOPLE)
    town.ask("job", "b", class_=BATCH)
    assert models(town.computing) == "a"
    assert shares(town, 20.0) == {"a": pytest.approx(1.0, abs=0.01), "b": pytest.approx(0.1, abs=0.02)}


def test_engine_that_needs_all_cores_has_its_turn_among_small_ones() -> None:
    town = Town(None, host(100, cores=2))
    for name, threads in (("a", 1), ("b", 1), ("c", 2)):
        town.learn(name, placement(("host", 10), threads=threads))
        ready(town, name)
        town.ask(f"for {name}", name)
    town.pass_time(2.0)
    assert shares(town, 20.0) == {name: pytest.approx(0.5, abs=0.03) for name in "abc"}


def test_client_that_leaves_a_paused_engine_frees_its_slot_and_resumes_it() -> None:
    town = on_two_cores("a", "b")
    town.ask("job", "b", class_=BATCH)
    town.ask("chat", "a", class_=PEOPLE)
    assert models(town.paused) == "b"
    town.finish("job", "cancelled")
    assert not town.paused
    town.tell(events.UnloadAsked(model="b"))
    assert town.stopped == [engine(town, "b")]


def test_paused_engine_goes_on_when_the_one_that_computes_dies() -> None:
    town = on_two_cores("a", "b")
    town.ask("job", "b", class_=BATCH)
    town.ask("chat", "a", class_=PEOPLE)
    town.crash(engine(town, "a"))
    assert models(town.computing) == "b"


def test_paused_engine_that_dies_is_forgotten() -> None:
    town = on_two_cores("a", "b")
    town.ask("job", "b", class_=BATCH)
    town.ask("chat", "a", class_=PEOPLE)
    town.crash(engine(town, "b"))
    assert not town.scheduler.state.turns.paused
    town.settle()
    assert not town.open


def test_person_who_waits_for_a_slot_lends_the_engine_their_class() -> None:
    town = on_two_cores("a", "b", "c", slots=1)
    town.ask("job", "b", class_=BATCH)
    town.ask("work", "a", class_=NORMAL)
    assert models(town.computing) == "a"
    town.ask("chat", "b", class_=PEOPLE)
    assert models(town.computing) == "b"


def test_victim_that_drains_for_people_goes_before_others() -> None:
    town = Town(None, host(30, cores=2))
    for name, size in (("a", 10), ("b", 20), ("c", 20)):
        town.learn(name, placement(("host", size), threads=2), load_s=0.5)
    ready(town, "a")
    ready(town, "b")
    town.ask("work", "a", class_=NORMAL)
    town.ask("job", "b", class_=BATCH, output_tokens=100)
    assert models(town.computing) == "a"
    town.ask("chat", "c", "you", class_=PEOPLE)
    town.pass_time(2.0)
    assert town.scheduler.state.plans
    assert shares(town, 10.0)["b"] == pytest.approx(1 - SETTINGS.class_shares[NORMAL], abs=0.03)


def test_drain_of_a_paused_engine_is_not_thought_to_go_on_for_longer() -> None:
    from partage.policy.eviction import remaining_s  # noqa: PLC0415

    town = on_two_cores("a", "b")
    town.ask("job", "b", class_=BATCH, output_tokens=100)  # 2 s
    town.ask("chat", "a", class_=PEOPLE)
    town.pass_time(1.0)
    town.tell(events.TimePassed())
    assert remaining_s(town.scheduler.state, town.scheduler.state.residents[engine(town, "b")]) == pytest.approx(2.0)


def test_on_a_gpu_only_batch_work_is_paused_and_only_while_people_are_served() -> None:
    town = on_one_gpu("a", "b", "c", "d")
    town.ask("job", "b", class_=BATCH)
    town.ask("work", "c", class_=NORMAL)
    town.ask("mixed job", "d", class_=BATCH)
    town.ask("mixed work", "d", class_=NORMAL)
    assert not town.paused
    town.ask("chat", "a", class_=PEOPLE)
    assert models(town.paused) == "b"
    town.finish("chat")
    assert not town.paused


def test_on_a_gpu_batch_work_has_its_share_beside_people() -> None:
    town = on_one_gpu("a", "b")
    town.ask("job", "b", class_=BATCH)
    town.ask("chat", "a", class_=PEOPLE)
    town.pass_time(WINDOW_S)
    assert shares(town, 20.0) == {"a": pytest.approx(1.0), "b": pytest.approx(0.1, abs=0.02)}


def test_batch_work_on_another_gpu_is_left_alone() -> None:
    town = Town(None, gpu("gpu0"), gpu("gpu1"))
    town.learn("a", placement(("gpu0", 4)))
    town.learn("b", placement(("gpu1", 4)))
    for name in "ab":
        ready(town, name)
    town.ask("job", "b", class_=BATCH)
    town.ask("chat", "a", class_=PEOPLE)
    assert not town.paused


def test_engines_of_somebody_elses_server_are_never_paused() -> None:
    town = on_two_cores("a")
    town.learn("far", placement(slots=4), load_s=0.1)
    ready(town, "far")
    town.ask("job", "far", class_=BATCH)
    town.ask("chat", "a", class_=PEOPLE)
    assert not town.paused


def test_nobody_is_paused_for_longer_than_the_bound() -> None:
    town = on_two_cores("a", "b", "c", "d")
    for number in range(400):
        for model, class_ in (("a", PEOPLE), ("b", NORMAL), ("c", BATCH), ("d", BATCH)):
            if (number + ord(model)) % 3 == 0 and f"{model}{number - 3}" in town.serving:
                town.finish(f"{model}{number - 3}")
            if (number + ord(model)) % 3 == 0:
                town.ask(f"{model}{number}", model, model, class_=class_)
        town.pass_time(0.13)
    assert 0 < town.longest_pause_s <= town.scheduler.pause_bound_s()


def by_hand(town: Town, model: str, *, paused: bool = True) -> None:
    town.tell(events.PauseAsked(model=model, paused=paused))


def test_engine_whose_class_computes_in_another_that_fits_beside_people_has_the_share_too() -> None:
    town = Town(None, host(100, cores=2))
    for name, threads in {"chat": 1, "small": 1, "large": 2}.items():
        town.learn(name, placement(("host", 10), threads=threads))
        ready(town, name)
    town.ask("1", "chat", class_=PEOPLE, output_tokens=100_000)
    for name in ("small", "large"):
        town.ask(name, name, class_=NORMAL, output_tokens=100_000)
    town.pass_time(100.0)  # Town complains of a pause beyond the bound
    assert town.computed_s[engine(town, "large")] > 5.0


def test_what_ran_on_another_device_says_nothing_of_whose_turn_it_is() -> None:
    town = Town(None, gpu("gpu", 100), host(100, cores=2))
    for name, device in {"far": "gpu", "farther": "gpu", "a": "host", "b": "host", "c": "host"}.items():
        town.learn(name, placement((device, 10), threads=2))
        ready(town, name)
    for name, class_ in {"far": NORMAL, "farther": PEOPLE, "a": PEOPLE, "b": PEOPLE}.items():
        town.ask(name, name, class_=class_, output_tokens=100_000)
    town.pass_time(100.0)
    town.finish("b")
    town.ask("c", "c", class_=NORMAL, output_tokens=100_000)
    town.ask("mine", "c", class_=PEOPLE, output_tokens=100_000)
    town.pass_time(20.0)
    assert town.computed_s[engine(town, "c")] == pytest.approx(10.0, abs=0.5)


def test_what_is_paused_by_hand_does_not_compute_until_it_is_let_go() -> None:
    town = on_two_cores("a", "b")
    town.ask("first", "a", class_=PEOPLE)
    by_hand(town, "a")
    assert town.paused
    town.ask("second", "a", class_=PEOPLE)
    town.ask("job", "b", class_=BATCH)
    assert shares(town, 20 * WINDOW_S) == {"a": 0.0, "b": pytest.approx(1.0)}
    by_hand(town, "a", paused=False)
    assert models(town.computing) == "a"


def test_engine_paused_by_hand_while_others_have_their_turn_says_so() -> None:
    town = on_two_cores("a", "b")
    town.ask("job", "b", class_=BATCH)
    town.ask("chat", "a", class_=PEOPLE)
    by_hand(town, "b")
    assert [one.reason for one in town.out if isinstance(one, actions.PauseEngine)] == ["hand"]
    town.finish("chat")
    assert models(town.paused) == "b"


def test_whoever_asks_for_what_is_paused_by_hand_keeps_it_from_computing_no_less() -> None:
    town = on_two_cores("a")
    by_hand(town, "a")
    assert not town.paused, "it serves nobody"
    town.ask("chat", "a", class_=PEOPLE)
    assert models(town.paused) == "a"
    town.finish("chat", "cancelled")
    assert not town.paused


def test_work_that_is_paused_by_hand_is_not_waited_for_where_memory_is_wanted() -> None:
    town = Town(None, gpu("gpu", 20))
    for name in "ab":
        town.learn(name, placement(("gpu", 10)))
        ready(town, name)
    town.learn("c", placement(("gpu", 10)))
    town.ask("long a", "a")
    by_hand(town, "a")
    town.ask("long b", "b")
    town.ask("wants", "c", class_=PEOPLE)
    town.pass_time(100.0)
    gated = [one.model.name for one in town.scheduler.state.residents.values() if one.gated]
    assert gated == ["b"]


def test_swap_that_waits_for_what_is_paused_by_hand_is_given_up_and_made_when_it_is_let_go() -> None:
    town = Town(None, gpu("gpu", 10))
    for name in "ab":
        town.learn(name, placement(("gpu", 10)))
    ready(town, "a")
    town.ask("long", "a")
    town.pass_time(60.0)
    town.ask("wants", "b", class_=PEOPLE)
    town.pass_time(60.0)
    resident = town.scheduler.state.residents[engine(town, "a")]
    assert resident.gated
    by_hand(town, "a")
    assert not resident.gated
    by_hand(town, "a", paused=False)
    town.pass_time(5.0)
    town.finish("long")
    assert town.stopped


def test_nothing_is_loaded_for_a_model_that_is_paused_by_hand_and_who_waits_is_told_in_the_end() -> None:
    town = Town(None, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 10)))
    by_hand(town, "a")
    town.ask("chat", "a", class_=PEOPLE)
    town.pass_time(1.0)
    assert not town.running
    by_hand(town, "a", paused=False)
    assert town.starting
    by_hand(town, "a")
    town.ask("other", "a", class_=PEOPLE)
    town.pass_time(SETTINGS.max_wait_s[PEOPLE] + 1)
    assert town.ended["other"] == "queue_full"


def test_idle_model_that_is_paused_by_hand_makes_room() -> None:
    town = Town(None, gpu("gpu", 10))
    for name in "ab":
        town.learn(name, placement(("gpu", 10)))
    ready(town, "a")
    by_hand(town, "a")
    town.pass_time(100.0)
    town.ask("chat", "b", class_=PEOPLE)
    town.pass_time(5.0)
    assert town.stopping


def test_lease_without_cores_is_paused_by_hand_no_less() -> None:
    town = on_two_cores()
    town.lease("train", 10, cores=0)
    by_hand(town, "lease:train")
    assert town.paused
    town.end_lease("train")
    assert not town.scheduler.state.turns.halted


def test_who_is_next_in_a_slot_of_what_is_paused_by_hand_waits_there_too() -> None:
    town = on_two_cores("a", slots=1)
    town.ask("first", "a")
    town.ask("second", "a")
    by_hand(town, "a")
    town.finish("first", "cancelled")
    assert town.serving == {"second": engine(town, "a")}
    assert models(town.paused) == "a"


def test_model_that_is_deleted_while_it_is_paused_by_hand_ends_what_it_serves() -> None:
    town = on_two_cores("a")
    town.ask("job", "a")
    by_hand(town, "a")
    town.tell(events.ModelForgotten("a"))
    assert models(town.computing) == "a"


def test_engine_that_computed_beside_people_does_not_wait_for_as_long_for_one_that_did_not_fit() -> None:
    town = Town(None, host(100, cores=2))
    for name, threads in {"a": 1, "fits": 1, "wide": 2, "b": 1}.items():
        town.learn(name, placement(("host", 10), threads=threads))
        ready(town, name)
    for name, class_ in {"a": PEOPLE, "fits": NORMAL, "wide": NORMAL}.items():
        town.ask(name, name, class_=class_, output_tokens=100_000)
    town.pass_time(200.0)
    town.ask("b", "b", class_=PEOPLE, output_tokens=100_000)
    assert shares(town, 50 * WINDOW_S)["f"] == pytest.approx(0.1, abs=0.02)
    assert town.longest_pause_s <= 4 * WINDOW_S


def test_engine_that_people_use_now_and_then_does_not_take_the_turns_of_batch_work_beside_it() -> None:
    town = on_two_cores("job", "mixed", "chat")
    for name in ("job", "mixed"):
        town.ask(f"{name} batch", name, class_=BATCH, output_tokens=100_000)
    town.pass_time(100.0)
    town.ask("chat", "chat", class_=PEOPLE, output_tokens=100_000)
    before_s = town.computed_s[engine(town, "job")]
    for number in range(25):
        town.ask(str(number), "mixed", class_=PEOPLE)
        town.pass_time(0.5)
        town.finish(str(number))
        town.pass_time(2.5)
    assert town.computed_s[engine(town, "job")] - before_s > 3.0, (
        "half of a tenth of the time in which both are batch work"
    )
