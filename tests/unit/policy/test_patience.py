from __future__ import annotations

from town import Town, gpu, placement

from partage.domain import Class
from partage.policy import patience
from partage.policy.settings import PolicySettings

LEAST_S, MOST_S = PolicySettings().swap_patience_s[0], PolicySettings().patience_s[0]


def waited_for(models: int, load_s: float, *, gpus: int = 1) -> Town:
    """One person waits for each of them, behind long answers of others that hold all memory."""
    town = Town(None, *(gpu(f"gpu{index}", 10) for index in range(gpus)))
    for index in range(gpus):
        town.learn(f"busy{index}", placement((f"gpu{index}", 10)))
        town.ask(f"long{index}", f"busy{index}", class_=Class.INTERACTIVE, output_tokens=100_000)
        town.make_ready(town.starting[0])
    for number in range(models):
        town.learn(f"m{number}", *(placement((f"gpu{index}", 5)) for index in range(gpus)), load_s=load_s)
        town.ask(f"r{number}", f"m{number}", class_=Class.INTERACTIVE)
    return town


def patience_s(town: Town) -> float:
    return town.scheduler.state.pressure.patience_s[Class.INTERACTIVE]


def test_who_waits_alone_is_next_as_soon_as_the_settings_say():
    assert patience_s(waited_for(models=1, load_s=2.0)) == LEAST_S


def test_where_many_wait_nobody_is_impatient_before_all_could_have_had_a_turn():
    assert patience_s(waited_for(models=6, load_s=5.0)) == 45.0


def test_devices_that_load_side_by_side_make_the_round_shorter():
    assert patience_s(waited_for(models=6, load_s=10.0, gpus=2)) == 45.0


def test_where_all_wait_long_nobody_is_singled_out_and_who_is_loses_patience():
    town = waited_for(models=3, load_s=1.0)
    town.pass_time(40.0)
    town.ask("another", "m0", class_=Class.INTERACTIVE)
    assert patience_s(town) == 80.0, "twice what the middle one has waited"
    alone = waited_for(models=1, load_s=1.0)
    alone.pass_time(40.0)
    alone.learn("m1", placement(("gpu0", 5)), load_s=1.0)
    alone.ask("newcomer", "m1", class_=Class.INTERACTIVE)
    assert patience_s(alone) == LEAST_S, "who has just come has not waited"


def test_slow_loads_make_nobody_wait_longer_than_late_requests_do():
    assert patience_s(waited_for(models=8, load_s=60.0)) == MOST_S


def test_patience_ends_with_that_of_the_oldest_of_those_who_wait():
    town = waited_for(models=1, load_s=2.0)
    town.pass_time(5.0)
    town.ask("later", "m0", class_=Class.INTERACTIVE)
    town.ask("batch", "m0", class_=Class.BATCH)
    state = town.scheduler.state
    assert patience.ends_at_s(state, state.models["m0"]) == LEAST_S


def test_who_was_passed_over_while_the_model_was_there_has_waited_for_a_slot_not_for_memory():
    town = Town(None, gpu("gpu", 10))
    town.learn("a", placement(("gpu", 10), slots=1))
    town.ask("served", "a", class_=Class.INTERACTIVE)
    town.make_ready("a#1")
    town.ask("passed over", "a", class_=Class.INTERACTIVE)
    town.pass_time(60.0)
    town.crash("a#1")
    state = town.scheduler.state
    assert patience.ends_at_s(state, state.models["a"]) == 60.0 + LEAST_S
