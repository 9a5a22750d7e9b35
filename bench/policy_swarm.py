"""The policy's promises in runs that are each random in another way: a swarm (tests/support/trial.py).

python bench/policy_swarm.py [--first 0] [--runs 1000] [--steps 160]
python bench/policy_swarm.py --first SEED --runs 1 --verbose     every event of that run, and what was decided
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from trial import swarm


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    options.add_argument("--runs", type=int, default=1000)
    options.add_argument("--steps", type=int, default=160)
    options.add_argument("--verbose", action="store_true")
    given = options.parse_args()
    start_s = time.perf_counter()
    failed = 0
    for seed in range(given.first, given.first + given.runs):
        try:
            swarm(seed, given.steps, print if given.verbose else None)
        except Exception as error:  # noqa: BLE001 - the policy may fail in any way; the other seeds are run all the same
            failed += 1
            print(f"seed {seed}: {type(error).__name__}: {error}".splitlines()[0])
            print(f"    see --first {seed} --runs 1 --steps {given.steps} --verbose", flush=True)
    taken_s = time.perf_counter() - start_s
    print(f"{given.runs} runs of {given.steps} steps, a promise broken in {failed}, in {taken_s:.0f} s")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
