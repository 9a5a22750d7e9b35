"""The policy's promises under random faults, for as many steps as one likes (tests/support/promises.py).

python bench/policy_promises.py [--steps 100000]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
from promises import Promises

STEPS_EACH = 100


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=100_000)
    steps = options.parse_args().steps
    start_s = time.perf_counter()
    run_state_machine_as_test(
        Promises,
        settings=settings(
            max_examples=-(-steps // STEPS_EACH),
            stateful_step_count=STEPS_EACH,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )
    print(f"{steps} steps without a broken promise in {time.perf_counter() - start_s:.0f} s")


if __name__ == "__main__":
    main()
