from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from partage.domain import Class
from partage.journal_format import actions_line, event_line, parse_lines, settings_line
from partage.policy import actions, events
from partage.policy.settings import PolicySettings
from partage.sim.compare import POLICIES, UNBOUNDED, decider, rows, summaries, sustained_load
from partage.sim.machine import gpus
from partage.sim.picture import page
from partage.sim.records import TraceUnreadable
from partage.sim.replay import replay
from partage.sim.run import World, WorldBroken
from partage.sim.synthetic import CHAT, LARGE, alternation, flood, hub_mix
from partage.sim.trace import is_journal, read_journal, read_trace, resampled
from partage.sim.workload import GB, Workload


def written(folder: Path, text: str) -> Path:
    path = folder / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_aegaeon_traces_keep_their_models_and_clock(tmp_path: Path) -> None:
    text = "Request Time,Model Name,Input Length,Output Length\n00:00:00.5,m1,100,20\n01:00:02.0,m2,7,3\n"
    load = read_trace(written(tmp_path, text), stretch=2.0)
    assert [one.at_s for one in load.arrivals] == [1.0, 7204.0]
    assert {model.name for model in load.models} == {"m1", "m2"}
    assert load.arrivals[0].output_tokens == 20


def test_azure_traces_start_at_zero(tmp_path: Path) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:48.6805900,396,9\n"
    load = read_trace(written(tmp_path, text))
    assert [one.at_s for one in load.arrivals] == [0.0, 2.0]


def test_lmsys_traces_keep_the_chosen_ranks(tmp_path: Path) -> None:
    lines = [f"{number}.0,m{rank},10,20" for rank in range(1, 28) for number in range(40 - rank)]
    load = read_trace(written(tmp_path, "arrival_s,model,input_tokens,output_tokens\n" + "\n".join(lines)))
    assert {one.demand.client for one in load.arrivals} == {f"m{rank}" for rank in (2, 14, 3, 10, 5, 19, 23, 24)}


def test_models_of_a_trace_take_the_sizes_given_by_popularity(tmp_path: Path) -> None:
    text = "time,model,input_tokens,output_tokens\n" + "".join(
        f"{n},{'rare' if n == 3 else 'often'},1,1\n" for n in range(4)
    )
    load = read_trace(written(tmp_path, text), sizes_bytes=[2 * GB, GB])
    often, rare = load.models
    assert (often.name, often.size_bytes, rare.name, rare.size_bytes) == ("often", 2 * GB, "rare", GB)
    assert rare.decode_tokens_per_s == 2 * often.decode_tokens_per_s


@pytest.mark.parametrize("text", ["", "a,b,c\n1,2,3\n", "arrival_s,model,input_tokens,output_tokens\nx,m,1,2\n"])
def test_what_is_no_trace_is_said_with_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(TraceUnreadable, match=r"trace\.csv"):
        read_trace(written(tmp_path, text))


def test_resampled_trace_asks_each_model_as_often_within_the_same_time(tmp_path: Path) -> None:
    lines = [f"00:00:{at:02}.5,m{at % 3},{100 + at},{1 + at}" for at in range(30)]
    load = read_trace(written(tmp_path, "Request Time,Model Name,Input Length,Output Length\n" + "\n".join(lines)))
    other = resampled(load, 1)

    def asked(one: Workload) -> Counter[str]:
        return Counter(arrival.demand.model for arrival in one.arrivals)

    assert asked(other) == asked(load)
    times = [arrival.at_s for arrival in other.arrivals]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < load.until_s
    assert times != [arrival.at_s for arrival in load.arrivals]


def test_resampled_trace_is_the_same_for_the_same_seed_and_the_trace_itself_for_none() -> None:
    load = flood(1, factor=2.0, minutes=5.0)
    assert resampled(load, 0) is load
    assert resampled(load, 3).arrivals == resampled(load, 3).arrivals
    assert resampled(load, 3).arrivals != resampled(load, 4).arrivals


def journal_of(load_factor: float) -> list[bytes]:
    """What a hub would have written while it served this workload."""
    lines: list[bytes] = []

    def write(event: events.Event, chosen: list[actions.Action], at_s: float) -> None:
        lines.append(event_line(event, at_s))
        if chosen:
            lines.append(actions_line(chosen, at_s))

    world = World(gpus(24 * GB), hub_mix(1, load_factor, minutes=5.0), decider("partage"))
    world.observe = write
    world.run()
    return lines


def test_journal_played_again_comes_to_the_same_decisions() -> None:
    found = replay(parse_lines(journal_of(0.6)), UNBOUNDED)
    assert found.events > 100
    assert found.actions > 50
    assert not found.differences


def test_journal_under_other_settings_shows_where_it_differs() -> None:
    found = replay(parse_lines(journal_of(0.6)), PolicySettings(queue_limit=0))
    assert isinstance(found.differences[0].event, events.RequestArrived)


def test_journal_of_a_hub_that_was_started_again_is_played_from_each_start() -> None:
    run = [settings_line(UNBOUNDED, 0.0), *journal_of(0.6)]
    found = replay(parse_lines([*run, *run]), PolicySettings(queue_limit=0))
    assert found.events > 200
    assert not found.differences


def test_journal_can_be_run_on_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(journal_of(0.6)))
    assert is_journal(path)
    load = read_journal(path)
    original = hub_mix(1, 0.6, minutes=5.0)
    assert [one.demand.model for one in load.arrivals] == [one.demand.model for one in original.arrivals]
    assert [one.output_tokens for one in load.arrivals] == [one.output_tokens for one in original.arrivals]


def test_same_seed_gives_the_same_workload_and_another_seed_another() -> None:
    assert hub_mix(3, 0.5, minutes=5.0) == hub_mix(3, 0.5, minutes=5.0)
    assert hub_mix(3, 0.5, minutes=5.0).arrivals != hub_mix(4, 0.5, minutes=5.0).arrivals


def test_batch_work_of_the_hub_mix_does_not_grow_with_what_people_ask() -> None:
    counts = [
        sum(one.demand.class_ == Class.BATCH for seed in range(9) for one in hub_mix(seed, load).arrivals)
        for load in (0.1, 0.8)
    ]
    assert 0.7 < counts[0] / counts[1] < 1.4


def test_what_others_ask_does_not_depend_on_the_flood() -> None:
    calm, flooded = (
        [(one.at_s, one.demand.model) for one in flood(1, factor=factor).arrivals if one.demand.client != "client9"]
        for factor in (1.0, 20.0)
    )
    assert calm == flooded


def test_sweep_finds_the_load_that_is_sustained_and_draws_it() -> None:
    found = summaries(
        list(
            rows(
                ("partage", "all-resident"),
                lambda seed, load: hub_mix(seed, load, minutes=5.0),
                gpus(24 * GB),
                (0.3, 8.0),
                (8,),
            )
        )
    )
    sustained = sustained_load(found, "partage")
    assert sustained is not None
    assert 0.3 <= sustained < 8.0
    result = World(gpus(24 * GB), hub_mix(0, 0.3, minutes=5.0), decider("partage")).run()
    text = page("a <sweep>", found, [("partage", result)])
    assert text.count("<svg") == 2
    assert "a &lt;sweep&gt;" in text


def test_world_fails_loudly_when_a_policy_overfills_the_device() -> None:
    with pytest.raises(WorldBroken, match="holds"):
        World(gpus(12 * GB), alternation((CHAT, LARGE), count=4, every_s=1.0), decider("all-resident")).run()


def test_every_policy_is_offered() -> None:
    assert POLICIES[0] == "partage"
    assert len(POLICIES) == 7


def test_batch_goals_are_deadlines() -> None:
    goals = {one.goal.finish_s for one in hub_mix(1, 1.0).arrivals if one.demand.class_ == Class.BATCH}
    assert goals == {600.0}


def test_a_file_that_is_no_journal_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Returns\n", encoding="utf-8")
    for name in ("notes.md", "nowhere"):
        with pytest.raises(TraceUnreadable, match=name):
            read_journal(tmp_path / name)
