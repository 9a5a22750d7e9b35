"""The knobs of the policy, each with its unit; docs/policy.md says what turning them does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    keep_alive_s: float = 300.0
    """How long an idle model stays when nobody says otherwise; negative: for ever. As OLLAMA_KEEP_ALIVE."""
    queue_limit: int = 512
    """Requests waiting in all; more are refused. As OLLAMA_MAX_QUEUE."""
    max_wait_s: tuple[float, float, float] = (600.0, 1800.0, 7200.0)
    """Per class: a request that has waited this long is refused. Part of the exported bound on waiting."""
    start_attempts: int = 3
    """Starts that may fail, or crashes in a row, before those waiting are refused."""
    start_backoff_s: float = 1.0
    """Pause after the first failed start; it grows fourfold with each further one."""
    thread_turn_s: tuple[float, float, float] = (1.0, 1.5, 2.0)
    """Per class: how long a host engine waits for threads before the one that computes is gated."""
