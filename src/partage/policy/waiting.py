"""One request that waits, is served, and ends: what every part of the policy knows it by."""

from __future__ import annotations

from dataclasses import dataclass

from partage.domain import EngineId
from partage.policy.accounts import Account
from partage.policy.events import Demand


@dataclass(slots=True, eq=False)
class Waiting:
    """One request, from arrival to its end; while it is served, `engine` names where."""

    demand: Demand
    account: Account
    arrived_s: float
    sequence: int
    due_s: float
    """When it must be served to be in time."""
    work_s: float
    """Seconds it would take a stream alone."""
    queued: bool = False
    in_line: bool = False
    """Of its group; what waits for an engine with a longer context is in none."""
    late: bool = False
    engine: EngineId | None = None
    crashes: int = 0
    """How often an engine died under it."""
    served_at_s: float = 0.0
    paused_before_s: float = 0.0
    """How long its engine had been paused in all when it served this."""
    charged_s: float = 0.0
    share: float = 1.0
    """Part of the device it was charged for: batching makes streams cheaper."""
