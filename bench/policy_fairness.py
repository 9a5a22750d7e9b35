"""One client floods at twenty times the others' rate: what the others notice, and how evenly service is shared.

python bench/policy_fairness.py [--seeds 5] [--ram 32]     with so many GB of RAM to park in
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace

from partage.domain import Class
from partage.policy.settings import PolicySettings
from partage.sim.compare import UNBOUNDED, mean, run
from partage.sim.machine import Machine, gpus
from partage.sim.measure import first_token_wait_s, jain, percentile
from partage.sim.synthetic import CHAT, flood
from partage.sim.workload import BATCH_GOAL, GB, Asked, Workload, workload

POLICIES = ("partage", "ollama-np4", "lru")
FLOODER = "client9"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--ram", type=float, default=0.0)
    given = options.parse_args()
    machine = gpus(24 * GB, parks=given.ram > 0)
    settings = replace(UNBOUNDED, park_budget_bytes=int(given.ram * GB))
    for policy in POLICIES:
        calm_s, flooded_s = (
            [_others_p99_s(policy, flood(seed, factor=factor), machine, settings) for seed in range(given.seeds)]
            for factor in (1.0, 20.0)
        )
        ratios = [flooded / calm for calm, flooded in zip(calm_s, flooded_s, strict=True)]
        print(
            f"{policy:12} others' p99 first token with the flood: {mean(ratios):.2f} x of without, "
            f"worst {max(ratios):.2f}; {mean(flooded_s):.1f} s : {mean(calm_s):.1f} s"
        )
    for policy in POLICIES:
        load = backlogged(seed=1)
        result = run(policy, load, machine)
        served = _served_s(load, result.served_at_s, until_s=600.0)
        print(f"{policy:12} Jain over backlogged clients, by GPU-seconds and weight: {jain(served):.3f}")


def _others_p99_s(policy: str, load: Workload, machine: Machine, settings: PolicySettings) -> float:
    result = run(policy, load, machine, settings)
    waits = [
        first_token_wait_s(load, result, index)
        for index, one in enumerate(load.arrivals)
        if one.demand.client != FLOODER
    ]
    return percentile(sorted(waits), 0.99)


def backlogged(seed: int) -> Workload:
    """Eight clients with more work than can be done, of different lengths; two of them with double weight."""
    chance = random.Random(seed)
    asked = [
        Asked(
            chance.random(),
            CHAT.name,
            f"client{client}",
            Class.NORMAL,
            500 * (1 + client % 3),
            round(100 * (1 + client % 4) * chance.uniform(0.5, 1.5)),
            BATCH_GOAL,
            2.0 if client < 2 else 1.0,
        )
        for client in range(8)
        for _ in range(4000 // (1 + client % 4))
    ]
    return workload("backlogged", (CHAT,), asked, 1.0)


def _served_s(load: Workload, served_at_s: Sequence[float], *, until_s: float) -> list[float]:
    shares: dict[str, float] = {}
    for index, one in enumerate(load.arrivals):
        if served_at_s[index] <= until_s:
            demand = one.demand
            used_s = demand.prompt_tokens / CHAT.prefill_tokens_per_s + one.output_tokens / CHAT.decode_tokens_per_s
            shares[demand.client] = shares.get(demand.client, 0.0) + used_s / demand.weight
    return list(shares.values())


if __name__ == "__main__":
    main()
