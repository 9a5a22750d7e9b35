"""W1, the hub mix on one 24 GB GPU, with and without 32 GB of RAM to park in: in time, p99, loads; virtual time.

python bench/policy_park.py [--seeds 3]
"""

from __future__ import annotations

import argparse
from statistics import fmean

from partage.domain import Class
from partage.policy.scheduler import Scheduler
from partage.policy.settings import PolicySettings
from partage.sim.machine import gpus
from partage.sim.measure import figures
from partage.sim.run import World
from partage.sim.synthetic import hub_mix
from partage.sim.workload import GB

LOADS = (0.3, 0.45, 0.6)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=3)
    seeds = options.parse_args().seeds
    machine = gpus(24 * GB, parks=True)
    for load in LOADS:
        for ram in (0, 32):
            settings = PolicySettings(queue_limit=10**9, park_budget_bytes=int(ram * GB))
            people, loading = [], []
            for seed in range(seeds):
                workload = hub_mix(seed, load)
                found = figures(workload, World(machine, workload, Scheduler(settings)).run())
                people.append(found.classes[Class.INTERACTIVE])
                loading.append(found.load_share)
            print(
                f"load {load:4}  {ram:2} GB for parking  in time {fmean(one.attainment for one in people):.1%}  "
                f"p99 {fmean(one.first_token_p99_s for one in people):.1f} s  loading or copying {fmean(loading):.1%} of the time"
            )


if __name__ == "__main__":
    main()
