"""A million requests through the simulator: requests per second of CPU time, and memory.

python bench/simulator_size.py [--requests 1000000]
"""

from __future__ import annotations

import argparse
import resource
import time

from partage.sim.compare import run
from partage.sim.machine import gpus
from partage.sim.synthetic import hub_mix
from partage.sim.workload import GB

REQUESTS_PER_MINUTE = 45.0
"""Of the hub mix at load 0.8."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=1_000_000)
    count = options.parse_args().requests
    load = hub_mix(1, 0.8, minutes=count / REQUESTS_PER_MINUTE)
    start_s = time.process_time()
    result = run("partage", load, gpus(24 * GB))
    took_s = time.process_time() - start_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"{len(load.arrivals):,} requests, {result.decisions:,} decisions in {took_s:.1f} s of CPU time:")
    print(f"{len(load.arrivals) / took_s:,.0f} requests/s, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
