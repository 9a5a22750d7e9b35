"""The knobs of the policy, each with its unit; docs/policy.md says what turning them does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """Triples go by class: interactive, normal, batch."""

    # who is next
    class_values: tuple[float, float, float] = (1.0, 0.5, 0.02)
    """What a second of waiting weighs when a swap is decided."""
    class_shares: tuple[float, float, float] = (1.0, 0.2, 0.1)
    """Part of a model's service, and of a device's time, that a lower class gets however much of a higher one waits."""
    first_token_goal_s: tuple[float, float, float] = (10.0, 30.0, 600.0)
    """After this a request without a deadline of its own counts as late, and goes behind those that can still be in time."""
    late_value: float = 0.2
    """What a late request weighs, of a timely one, when a swap is decided."""
    fairness_slack_s: float = 2.0
    """GPU-seconds by which a client may be ahead of the least served and still be let forward by its deadline."""

    # what is loaded
    swap_factor: float = 1.0
    """A busy model leaves when the weighted waiting is worth this many times what its leaving costs; an idle one at half."""
    load_part: tuple[float, float] = (0.15, 0.35)
    """Part of the time that may go into loading: under pressure, and when there is room. Sets the residency quantum."""
    load_pressure: float = 0.25
    """Part of the time spent loading from which the governor lengthens stays and raises the price of a swap."""
    patience_s: tuple[float, float, float] = (300.0, 300.0, 300.0)
    """A late request that has waited this long has a share of the service; and however long a round is, its model is next."""
    late_share: tuple[float, float, float] = (0.05, 0.2, 1.0)
    """Part of the service of its class that goes to who has lost patience, while others can still be in time; 1: its fair turns."""
    swap_patience_s: tuple[float, float, float] = (20.0, 240.0, 240.0)
    """A model whose oldest request has waited this long for memory, and for a round (patience.py), is loaded next, before every other."""
    reuse_horizon_s: float = 20.0
    """A victim that is likely to be asked for again within this time is dear."""
    prewarm_chance: float = 0.5
    """A model that had to leave comes back to free memory if it is at least so likely to be asked for in the horizon."""
    head_group: int = 8
    """A model just loaded serves at least so many of those that called it before it can be a victim."""
    candidates: int = 8
    """Waiting models compared with each other when room can be made, those that wait longest first."""
    pin_share: float = 0.5
    """Part of a device that `keep_alive: -1` may pin; what goes beyond is kept only as long as nobody needs the memory."""
    least_speed: float = 0.5
    """A slower placement (layers on the host) is taken only once the group has lost patience."""

    # memory given back
    keep_alive_s: float = 300.0
    """How long an idle model stays when nobody says otherwise; negative: for ever. As OLLAMA_KEEP_ALIVE."""

    park_budget_bytes: int = 0
    """RAM that engines may be parked in; 0: none is."""

    aside_patience_s: float = 15.0
    """An engine parked in mid-answer is next for memory after so long (aside.py)."""
    max_aside_s: float = 60.0
    """It is ended where nothing could make room for it until then: the bound on such silences that is exported."""

    # limits
    queue_limit: int = 512
    """Requests waiting in all; more are refused. As OLLAMA_MAX_QUEUE."""
    max_wait_s: tuple[float, float, float] = (600.0, 1800.0, 7200.0)
    """A request that has waited this long is refused: the bound on waiting that is exported."""
    start_attempts: int = 3
    """Starts that may fail, or crashes in a row, before those waiting are refused."""
    start_backoff_s: float = 1.0
    """Pause after the first failed start; it grows fourfold with each further one."""

    # who computes
    slice_s: float = 0.25
    """How long engines of one class compute in turn, where they cannot compute beside each other."""
    share_window_s: float = 2.0
    """Within each such time a class that others keep from computing gets its `class_shares` part of it, in one slice."""

    # cost model
    batch_slowdown: float = 0.15
    """Each further stream of an engine makes every stream this much slower."""

    def slowdown(self, streams: int) -> float:
        """How many times as long each of so many streams takes as one alone."""
        return 1 + self.batch_slowdown * (streams - 1)
