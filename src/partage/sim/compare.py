"""Runs workloads under several policies and gathers the figures: one row per policy, load and seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from partage.domain import Class
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings
from partage.sim.machine import Machine
from partage.sim.measure import Figures, figures
from partage.sim.peers import PEERS
from partage.sim.run import Decider, Result, World
from partage.sim.workload import Workload

MakeWorkload: TypeAlias = Callable[[int, float], Workload]
"""(seed, load) -> workload."""

UNBOUNDED = PolicySettings(queue_limit=10**9)
"""The comparison is about order, not about who refuses most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    policy: str
    load: float
    seed: int
    figures: Figures


def decider(policy: str, settings: PolicySettings = UNBOUNDED) -> Decider:
    return Scheduler(settings) if policy == "partage" else PEERS[policy]()


POLICIES = ("partage", *PEERS)


def run(policy: str, workload: Workload, machine: Machine, settings: PolicySettings = UNBOUNDED) -> Result:
    return World(machine, workload, decider(policy, settings), infinite_memory=policy == "all-resident").run()


def rows(
    policies: Sequence[str], make: MakeWorkload, machine: Machine, loads: Sequence[float], seeds: Iterable[int]
) -> Iterator[Row]:
    seeds = list(seeds)
    for load in loads:
        for seed in seeds:
            workload = make(seed, load)
            for policy in policies:
                result = run(policy, workload, machine)
                yield Row(policy=policy, load=load, seed=seed, figures=figures(workload, result))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Means over the seeds, and how far the attainment of a seed lies from its mean."""

    policy: str
    load: float
    seeds: int
    attainment: float
    attainment_spread: float
    first_token_p50_s: float
    first_token_p99_s: float
    batch_attainment: float
    worst_client_attainment: float
    swaps_per_hour: float
    load_share: float
    longest_wait_s: float
    refused: float


def summaries(rows: Sequence[Row]) -> list[Summary]:
    groups: dict[tuple[float, str], list[Figures]] = {}
    for row in rows:
        groups.setdefault((row.load, row.policy), []).append(row.figures)
    return [_summary(policy, load, gathered) for (load, policy), gathered in groups.items()]


def _summary(policy: str, load: float, gathered: Sequence[Figures]) -> Summary:
    people = [one.classes[Class.INTERACTIVE] for one in gathered if Class.INTERACTIVE in one.classes]
    batch = [one.classes[Class.BATCH].attainment for one in gathered if Class.BATCH in one.classes]
    attainment = mean([one.attainment for one in people])
    return Summary(
        policy=policy,
        load=load,
        seeds=len(gathered),
        attainment=attainment,
        attainment_spread=mean([(one.attainment - attainment) ** 2 for one in people]) ** 0.5,
        first_token_p50_s=mean([one.first_token_p50_s for one in people]),
        first_token_p99_s=mean([one.first_token_p99_s for one in people]),
        batch_attainment=mean(batch),
        worst_client_attainment=mean([one.worst_client_attainment for one in gathered]),
        swaps_per_hour=mean([one.swaps_per_hour for one in gathered]),
        load_share=mean([one.load_share for one in gathered]),
        longest_wait_s=max(one.longest_wait_s for one in gathered),
        refused=mean([float(one.refused) for one in people]),
    )


def sustained_load(summaries: Sequence[Summary], policy: str, attainment: float = 0.9) -> float | None:
    """The largest load at which the policy still reaches the attainment, between the loads tried; None: beyond them."""
    points = sorted((one.load, one.attainment) for one in summaries if one.policy == policy)
    best: float | None = 0.0
    for (low, at_low), (high, at_high) in pairwise(points):
        if at_low >= attainment > at_high:
            best = low + (high - low) * (at_low - attainment) / (at_low - at_high)
    return None if points and points[-1][1] >= attainment else best


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
