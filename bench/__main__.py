"""`make bench`: every measured claim, each a module with a main() of its own; `python -m bench NAME ...` runs some."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

PARTS = {
    "architectures",
    "census",
    "empty_model",
    "gpu_copy",
    "gpu_engines",
    "live_hub",
    "fuzz_hub",
    "pauses",
    "random_model",
    "real_shapes",
}
"""Only parts of others."""
NOT_ALONE = PARTS | {"engine_load", "policy_traces", "receipts"}
"""Or wants arguments (`python -m bench.receipts DIR`)."""


def main() -> None:
    every = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    names = sys.argv[1:] or [name for name in every if name not in NOT_ALONE]
    sys.argv = sys.argv[:1]
    for name in names:
        module = importlib.import_module(f"bench.{name}")
        print(f"\n== {name}: {(module.__doc__ or '').strip().splitlines()[0]}", flush=True)
        module.main()


if __name__ == "__main__":
    main()
