"""Public traces with several seeds: in time and p99 of the first token, ours against each peer's, and what is beyond noise.

python bench/policy_traces.py TRACE.csv ... [--memory 16,24] [--stretch 1,2,4] [--seeds 20]
Seed 0 is the trace itself; the others shift each model's requests and draw anew what they ask (sim/trace.py).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from partage.domain import Class
from partage.sim.compare import run
from partage.sim.machine import gpus
from partage.sim.measure import ClassFigures, figures
from partage.sim.trace import read_trace, resampled
from partage.sim.workload import GB, Workload

PEERS = ("ollama", "ollama-np4", "llama-swap-matrix", "lru")
NOISE = 2.0
"""Standard errors of the mean difference between runs with the same seed."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("traces", nargs="+", type=Path)
    options.add_argument("--memory", default="16,24")
    options.add_argument("--stretch", default="1,2,4")
    options.add_argument("--seeds", type=int, default=20)
    given = options.parse_args()
    for trace in given.traces:
        for stretch in given.stretch.split(","):
            whole = read_trace(trace, stretch=float(stretch))
            loads = [resampled(whole, seed) for seed in range(given.seeds)]
            for memory in given.memory.split(","):
                print(f"\n{whole.name}, {memory} GB, {len(whole.arrivals)} requests, {given.seeds} seeds")
                _compare(loads, float(memory) * GB)


def _compare(loads: Sequence[Workload], memory_bytes: float) -> None:
    ours = [_people("partage", load, memory_bytes) for load in loads]
    _print("partage", ours, "")
    for peer in PEERS:
        theirs = [_people(peer, load, memory_bytes) for load in loads]
        more = [100 * (one.attainment - other.attainment) for one, other in zip(ours, theirs, strict=True)]
        sooner = [other.first_token_p99_s - one.first_token_p99_s for one, other in zip(ours, theirs, strict=True)]
        _print(peer, theirs, f"ours: {_verdict(more, 'points more')}; p99 {_verdict(sooner, 's sooner')}")


def _people(policy: str, load: Workload, memory_bytes: float) -> ClassFigures:
    return figures(load, run(policy, load, gpus(memory_bytes))).classes[Class.INTERACTIVE]


def _print(policy: str, found: Sequence[ClassFigures], verdict: str) -> None:
    in_time = _spread([100 * one.attainment for one in found])
    print(f"{policy:18} in time {in_time} %  p99 {_spread([one.first_token_p99_s for one in found])} s  {verdict}")


def _spread(values: Sequence[float]) -> str:
    if not all(math.isfinite(value) for value in values):
        return "  refuses   "
    return f"{fmean(values):5.1f} +- {stdev(values) if len(values) > 1 else 0.0:4.1f}"


def _verdict(better: Sequence[float], unit: str) -> str:
    if not all(math.isfinite(value) for value in better):
        return "better (it refuses)"
    noise = NOISE * stdev(better) / math.sqrt(len(better)) if len(better) > 1 else math.inf
    word = "as good" if abs(fmean(better)) <= noise else "better" if fmean(better) > 0 else "WORSE"
    return f"{word} ({fmean(better):+.1f} +- {noise:.1f} {unit})"


if __name__ == "__main__":
    main()
