"""From what became of each request to the numbers that are compared: attainment, waiting, swaps, fairness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from partage.domain import Class
from partage.sim.run import Result
from partage.sim.workload import Arrival, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    requests: int
    attainment: float
    first_token_p50_s: float
    first_token_p99_s: float
    """Refused: never. Still waiting at the end of the run: as long as until then."""
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    classes: dict[Class, ClassFigures]
    worst_client: str
    worst_client_attainment: float
    longest_wait_s: float
    swaps_per_hour: float
    """Loads beyond the first of each model."""
    load_share: float
    """Part of the time that the loading link is busy."""
    idle_loads: int
    """Engines that left without having served anybody."""


def met(arrival: Arrival, result: Result, index: int) -> bool:
    first_s, end_s = result.first_token_s[index], result.finished_s[index]
    if math.isnan(end_s):
        return False
    goal = arrival.goal
    per_token_s = (end_s - first_s) / max(1, arrival.output_tokens - 1)
    return (
        first_s - arrival.at_s <= goal.first_token_s
        and per_token_s <= goal.per_token_s
        and end_s - arrival.at_s <= goal.finish_s
    )


def figures(workload: Workload, result: Result) -> Figures:
    by_class: dict[Class, list[int]] = {}
    by_client: dict[str, list[int]] = {}
    for index, arrival in enumerate(workload.arrivals):
        by_class.setdefault(arrival.demand.class_, []).append(index)
        by_client.setdefault(arrival.demand.client, []).append(index)
    worst = min(
        ((_attainment(workload, result, indices), client) for client, indices in by_client.items()),
        default=(1.0, ""),
    )
    hours = result.ended_s / 3600.0 or 1.0
    first_loads = len({stay.model for stay in result.stays})
    return Figures(
        classes={class_: _class_figures(workload, result, indices) for class_, indices in sorted(by_class.items())},
        worst_client=worst[1],
        worst_client_attainment=worst[0],
        longest_wait_s=max((wait_s(workload, result, index) for index in range(len(workload.arrivals))), default=0.0),
        swaps_per_hour=(len(result.stays) - first_loads) / hours,
        load_share=result.load_s / (result.ended_s or 1.0),
        idle_loads=sum(not stay.served and not math.isinf(stay.gone_s) for stay in result.stays),
    )


def _class_figures(workload: Workload, result: Result, indices: Sequence[int]) -> ClassFigures:
    waits = sorted(first_token_wait_s(workload, result, index) for index in indices)
    return ClassFigures(
        requests=len(indices),
        attainment=_attainment(workload, result, indices),
        first_token_p50_s=percentile(waits, 0.5),
        first_token_p99_s=percentile(waits, 0.99),
        refused=sum(not math.isnan(result.refused_s[index]) for index in indices),
    )


def _attainment(workload: Workload, result: Result, indices: Iterable[int]) -> float:
    outcomes = [met(workload.arrivals[index], result, index) for index in indices]
    return sum(outcomes) / len(outcomes)


def first_token_wait_s(workload: Workload, result: Result, index: int) -> float:
    """Infinite for a request that was refused for good: refusing is not serving fast."""
    if not math.isnan(result.refused_s[index]):
        return math.inf
    return _until(result.first_token_s[index], result, index) - workload.arrivals[index].at_s


def wait_s(workload: Workload, result: Result, index: int) -> float:
    """From arrival until it was given a slot, or refused."""
    return _until(result.served_at_s[index], result, index) - workload.arrivals[index].at_s


def _until(moment_s: float, result: Result, index: int) -> float:
    for candidate_s in (moment_s, result.refused_s[index]):
        if not math.isnan(candidate_s):
            return candidate_s
    return result.ended_s


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of values in order; the larger neighbour where it falls between two."""
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)))] if ordered else math.nan


def jain(shares: Sequence[float]) -> float:
    """1 where all are equal, 1/n where one has everything."""
    total, squares = sum(shares), sum(share * share for share in shares)
    return total * total / (len(shares) * squares) if squares else 1.0
