"""How long those who wait for memory are patient: after that they are next, before every other (checks 2 and 3).

First come, first served has the shortest longest wait: about a round, in which each model that waits has its turn. To be
impatient sooner than that gains nobody a shorter wait, and forces exchanges that cost others their time.
"""

from __future__ import annotations

import math
from itertools import islice

from partage.policy import parking
from partage.policy.state import ModelState, State

_TURN = 1.5  # times its load: a model that is loaded serves for half as long at least


def reckon(state: State) -> None:
    """A round of those that are compared with each other, within the bounds of the settings; devices load side by side."""
    settings = state.settings
    loads_s = sum([parking.load_s(state, model) for model in islice(state.unplaced.values(), settings.candidates)])
    round_s = _TURN * loads_s / max(1, len(state.ledger.devices))
    people, normal, batch = settings.swap_patience_s
    state.pressure.patience_s = (
        min(max(round_s, people), settings.patience_s[0]),
        min(max(round_s, normal), settings.patience_s[1]),
        min(max(round_s, batch), settings.patience_s[2]),
    )


def ends_at_s(state: State, model: ModelState) -> float:
    """When the first of those who wait for it loses patience."""
    queue, ends_s = model.queue, math.inf
    for group in queue.groups:
        oldest_s = group.oldest_s()
        if oldest_s is not None:
            ends_s = min(ends_s, oldest_s + state.pressure.patience_s[group.class_])
    for waiting in (*queue.loads.values(), *queue.outgrown.values()):
        ends_s = min(ends_s, waiting.arrived_s + state.pressure.patience_s[waiting.demand.class_])
    return ends_s
