"""W1, the hub mix on one 24 GB GPU: how much load each policy sustains, and what waiting and swapping it costs.

python bench/policy_hub_mix.py [--seeds 9]     nine go through Zipf 0.5, 0.9, 2.1 x variation 1, 2, 4
"""

from __future__ import annotations

import argparse

from partage.sim.compare import rows, summaries, sustained_load
from partage.sim.machine import gpus
from partage.sim.synthetic import hub_mix
from partage.sim.workload import GB

POLICIES = ("partage", "ollama-np4", "llama-swap-matrix", "all-resident")
LOADS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=9)
    seeds = range(options.parse_args().seeds)
    found = summaries(list(rows(POLICIES, hub_mix, gpus(24 * GB), LOADS, seeds)))
    for one in found:
        print(
            f"load {one.load:3}  {one.policy:18} in time {one.attainment:6.1%} +- {one.attainment_spread:5.1%}  "
            f"p99 {one.first_token_p99_s:6.1f} s  batch {one.batch_attainment:6.1%}  "
            f"worst client {one.worst_client_attainment:6.1%}  swaps/h {one.swaps_per_hour:5.0f}  "
            f"longest wait {one.longest_wait_s:5.0f} s"
        )
    for policy in POLICIES:
        print(f"{policy:18} sustains 90 % in time up to load {sustained_load(found, policy)}")


if __name__ == "__main__":
    main()
