from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from town import Town, gpu, placement

from partage.policy import events
from partage.policy.settings import PolicySettings


def town(*, ram: int = 100, parks: bool = True, load_s: float = 9.0, sizes: dict[str, int] | None = None) -> Town:
    """One GPU of 10 bytes; models that need nearly all of it."""
    made = Town(PolicySettings(park_budget_bytes=ram), gpu(budget=10, parks=parks))
    for name, size in (sizes or {"a": 8, "b": 7, "c": 6}).items():
        made.learn(name, placement(("gpu", size)), load_s=load_s)
    return made


def use(town: Town, model: str) -> str:
    """Ask for it and be answered, whatever has to happen for it. Its engine."""
    request = f"{model} at {town.now_s}"
    town.ask(request, model)
    for _ in range(600):
        if request in town.serving:
            break
        town.pass_time(1.0)
        for engine in list(town.parking):
            town.park_ends(engine)
        for engine in list(town.stopping):
            town.go(engine)
        for engine in town.starting:
            town.make_ready(engine)
    engine = town.serving[request]
    town.finish(request)
    town.pass_time(1.0)
    return engine


def test_an_idle_victim_is_parked_and_comes_back_as_the_same_engine():
    world = town()
    first = use(world, "a")
    use(world, "b")
    assert world.parked == {first}
    assert world.in_ram == {first: 8}
    assert use(world, "a") == first, "not loaded again"
    assert first not in world.in_ram


def test_where_the_device_cannot_park_a_victim_is_stopped():
    for world in (town(parks=False), town(ram=0), town(ram=7)):
        first = use(world, "a")
        use(world, "b")
        assert first not in world.running


def test_its_device_memory_is_not_given_away_before_it_is_in_ram():
    world = town()
    first = use(world, "a")
    world.ask("next", "b")
    world.pass_time(60)
    assert world.parking == {first}
    assert not [one for one in world.running if one.startswith("b")]
    world.park_ends(first)
    assert [one for one in world.running if one.startswith("b")]


def test_a_model_that_loads_no_slower_than_it_is_copied_is_not_parked():
    world = town(load_s=1e-10)
    first = use(world, "a")
    use(world, "b")
    assert first not in world.running


def test_who_is_worth_least_makes_room_in_ram_and_the_newcomer_waits_until_it_has_gone():
    world = town(ram=8)
    first = use(world, "a")
    second = use(world, "b")
    for _ in range(4):
        use(world, "b")  # asked for more often than a: worth more
    assert world.in_ram == {first: 8}
    world.ask("c", "c")
    world.pass_time(60)
    assert world.stopping == {first}
    assert world.parking == set(), "there is no room for it in RAM yet"
    world.go(first)
    assert world.parking == {second}
    assert world.in_ram == {second: 7}


def test_an_engine_that_cannot_be_parked_is_stopped_and_one_that_cannot_come_back_is_loaded():
    world = town()
    first = use(world, "a")
    world.ask("next", "b")
    world.pass_time(60)
    world.park_ends(first, works=False)
    assert world.stopping == {first}
    world.go(first)
    world.settle()

    second = use(world, "a")
    use(world, "b")
    world.ask("again", "a")
    world.pass_time(60)
    for engine in list(world.parking):
        world.park_ends(engine)
    assert world.unparking == {second}
    world.go(second)
    assert [one for one in world.starting if one.startswith("a")] != [], "loaded at once: it is no failed start"


def test_a_device_that_fails_three_times_in_a_row_is_not_asked_again():
    world = town()
    for model in "abab":
        world.ask(f"{model} {world.now_s}", model)
        world.pass_time(60)
        for engine in list(world.parking):
            world.park_ends(engine, works=False)
        world.settle()
    last = next(iter(world.ready))
    use(world, "c")
    assert last not in world.running


@pytest.mark.parametrize("how", ["keep-alive", "unload", "crash"])
def test_a_parked_engine_ends_and_gives_its_ram_back(how: str):
    world = town()
    first = use(world, "a")
    use(world, "b")
    assert world.parked == {first}
    match how:
        case "keep-alive":
            world.pass_time(400)
        case "unload":
            world.tell(events.UnloadAsked(model="a"))
        case _:
            world.crash(first)
    for engine in list(world.stopping):
        world.go(engine)
    assert first not in world.running
    assert world.in_ram == {}
    assert use(world, "a") != first


def test_the_link_s_measured_rate_says_what_a_return_costs():
    world = town(sizes={"a": 8, "b": 7}, load_s=9.0)
    use(world, "a")
    use(world, "b")
    state = world.scheduler.state
    assert state.link_rates["gpu"] == pytest.approx(80.0), "8 bytes in 0.1 s"


STEPS = st.sampled_from(["ask", "ask", "ask", "finish", "finish", "time", "time", "world", "world", "world", "fault"])


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(steps=st.lists(st.tuples(STEPS, st.sampled_from("abcd"), st.integers(0, 7)), min_size=80, max_size=160))
def test_whatever_happens_ram_and_device_are_never_overdrawn_and_every_engine_ends(steps: list[tuple[str, str, int]]):
    """Town checks the promises after every event; here parking is what happens most."""
    world = Town(PolicySettings(park_budget_bytes=14), gpu(budget=10, parks=True), gpu("gpu2", 6, parks=True))
    for name, size in {"a": 8, "b": 7, "c": 6, "d": 3}.items():
        places = [placement(("gpu", size))] + ([placement(("gpu2", size))] if size <= 6 else [])
        world.learn(name, *places, load_s=9.0)
    for number, (step, model, which) in enumerate(steps):
        match step:
            case "ask":
                client = "flood" if which < 5 else f"user{number % 5}"
                tokens = 1000 if which < 5 else 1
                world.ask(f"r{number}", model, client, output_tokens=tokens, keep_alive_s=5.0 if which == 0 else None)
            case "finish" if world.serving:
                world.finish(sorted(world.serving)[which % len(world.serving)])
            case "world":
                _let_things_happen(world, which)
            case "fault" if which < 3 and world.running:
                _break(world, sorted(world.running)[which % len(world.running)], which)
            case _:
                world.pass_time(3.0 * which)
    world.settle()
    for model in "abcd":
        world.tell(events.UnloadAsked(model=model))
    world.settle()
    assert not world.running
    assert not world.in_ram
    assert not world.open


def _let_things_happen(world: Town, which: int) -> None:
    for engine in sorted(world.parking - world.stopping):
        world.park_ends(engine, works=which != 0)
    for engine in sorted(world.stopping):
        world.go(engine)
    for engine in world.starting:
        world.make_ready(engine)


def _break(world: Town, engine: str, which: int) -> None:
    if engine in world.stopping or (engine in world.unparking and which == 0):
        world.go(engine)
    elif engine in world.starting:
        world.fail(engine)
    else:
        world.crash(engine)
