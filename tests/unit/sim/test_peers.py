"""Each weakness that users of the peers meet, shown on the peer; and that the policy does not have it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from partage.domain import Class
from partage.sim.compare import POLICIES, run
from partage.sim.machine import gpus
from partage.sim.measure import figures, wait_s
from partage.sim.run import Result
from partage.sim.synthetic import CHAT, EMBED, LARGE, SMALL, alternation
from partage.sim.workload import GB, INTERACTIVE_GOAL, Asked, SimModel, Workload, workload

MACHINE = gpus(12 * GB)


def asked(at_s: float, model: SimModel, client: str = "me", output_tokens: int = 50) -> Asked:
    return Asked(at_s, model.name, client, Class.INTERACTIVE, 100, output_tokens, INTERACTIVE_GOAL)


def longest_wait_s(load: Workload, result: Result, model: SimModel) -> float:
    indices = [index for index, one in enumerate(load.arrivals) if one.demand.model == model.name]
    return max(wait_s(load, result, index) for index in indices)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_ends_every_request(policy: str) -> None:
    load = alternation((CHAT, LARGE, SMALL), count=30, every_s=3.0)
    result = run(policy, load, MACHINE)
    ended = [
        math.isnan(result.finished_s[index]) != math.isnan(result.refused_s[index])
        for index in range(len(load.arrivals))
    ]
    assert all(ended)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_model_larger_than_the_machine_is_refused_and_the_others_are_served(policy: str) -> None:
    giant = replace(LARGE, name="giant", size_bytes=1000 * GB)
    load = workload("giant", (giant, CHAT), [asked(0.0, giant), asked(1.0, CHAT)], 10.0)
    result = run(policy, load, MACHINE)
    refused = [not math.isnan(moment_s) for moment_s in result.refused_s]
    assert refused == [True, False]


def test_ollama_swaps_at_every_alternation_and_the_policy_when_there_is_time() -> None:
    load = alternation((CHAT, LARGE), count=60, every_s=6.0)
    peer, ours = run("ollama", load, MACHINE), run("partage", load, MACHINE)
    assert len(peer.stays) == 60
    assert figures(load, ours).classes[Class.INTERACTIVE].attainment == 1.0, "there is time to load for each"
    hurried = alternation((CHAT, LARGE), count=60, every_s=2.0)
    assert len(run("partage", hurried, MACHINE).stays) < 30, "there is not"


def test_alternation_faster_than_loading_ends_no_later_than_with_the_best_peer() -> None:
    load = alternation((CHAT, LARGE), count=60, every_s=0.5)
    ends_s = {policy: run(policy, load, MACHINE).ended_s for policy in ("ollama", "llama-swap-group", "lru", "partage")}
    assert ends_s["partage"] <= 1.02 * min(ends_s.values())


@pytest.mark.parametrize("policy", ["ollama", "ollama-np4", "llama-swap-group", "llama-swap-matrix"])
def test_always_busy_model_starves_the_other_in_the_peers(policy: str) -> None:
    busy = [asked(number * 0.4, CHAT) for number in range(1000)]
    load = workload("busy victim", (CHAT, LARGE), [*busy, asked(10.0, LARGE, "you")], 400.0)
    assert longest_wait_s(load, run(policy, load, MACHINE), LARGE) > 300.0


def test_always_busy_model_starves_nobody_here() -> None:
    busy = [asked(number * 0.4, CHAT) for number in range(1000)]
    load = workload("busy victim", (CHAT, LARGE), [*busy, asked(10.0, LARGE, "you")], 400.0)
    assert longest_wait_s(load, run("partage", load, MACHINE), LARGE) < 150.0


def test_small_model_waits_behind_a_blocked_head_in_ollama_only() -> None:
    """The head waits for a busy victim; the small one would fit beside it all the time."""
    requests = [asked(0.0, CHAT, output_tokens=5000), asked(5.0, LARGE), asked(6.0, EMBED)]
    load = workload("blocked head", (CHAT, LARGE, EMBED), requests, 10.0)
    assert longest_wait_s(load, run("ollama", load, MACHINE), EMBED) > 20.0
    assert longest_wait_s(load, run("partage", load, MACHINE), EMBED) < 5.0


def test_ollama_picks_its_victim_by_name_and_the_policy_by_use() -> None:
    first, second = replace(SMALL, name="a-loved"), replace(SMALL, name="b-unloved")
    loved = [asked(number * 3.0, first) for number in range(40)]
    requests = [asked(0.0, second), *loved, asked(61.5, CHAT)]
    load = workload("victim", (first, second, CHAT), requests, 130.0)
    loads = {
        policy: sum(stay.model == "a-loved" for stay in run(policy, load, gpus(10 * GB)).stays)
        for policy in ("ollama", "partage")
    }
    assert loads == {"ollama": 2, "partage": 1}


def test_llama_swap_refuses_the_eleventh_and_the_policy_queues_it() -> None:
    requests = [asked(0.0, CHAT, f"client{number}") for number in range(30)]
    load = workload("burst", (CHAT,), requests, 1.0)
    refused = {
        policy: sum(not math.isnan(moment_s) for moment_s in run(policy, load, MACHINE).refused_s)
        for policy in ("llama-swap-group", "partage")
    }
    assert refused["llama-swap-group"] > 0
    assert refused["partage"] == 0


def test_lru_serves_who_came_first_and_gates_its_victim() -> None:
    busy = [asked(number * 0.4, CHAT) for number in range(200)]
    load = workload("busy victim", (CHAT, LARGE), [*busy, asked(10.0, LARGE, "you")], 80.0)
    assert longest_wait_s(load, run("lru", load, MACHINE), LARGE) < 20.0


def test_without_a_memory_limit_nothing_is_loaded_twice() -> None:
    load = alternation((CHAT, LARGE), count=40, every_s=1.0)
    assert len(run("all-resident", load, MACHINE).stays) == 2


def test_ollama_evicts_although_the_model_would_fit_beside_the_others() -> None:
    """Preflight: no more than 80 % of what is free, and 11 GB are wanted of 11.5."""
    load = workload("tight", (CHAT, LARGE), [asked(0.0, CHAT), asked(60.0, LARGE), asked(120.0, CHAT)], 180.0)
    peer, ours = (run(policy, load, gpus(18 * GB)) for policy in ("ollama", "partage"))
    assert len(peer.stays) == 3
    assert len(ours.stays) == 2
