"""How long those who wait for memory are patient: after that they are next, before every other (checks 2 and 3).

First come, first served has the shortest longest wait: about a round, in which each model that waits has its turn. To be
impatient sooner than that gains nobody a shorter wait, and forces exchanges that cost others their time. Where more is
asked than can be done, even the middle one waits longer; then only who is singled out has a reason to be impatient.

What counts is how long a model has been out of memory: who was passed over while it was there has waited for a slot. Counted
from when they came, late requests would force an exchange as soon as a model is loaded, and loading would take half of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from partage.domain import Class
from partage.policy import parking
from partage.policy.state import ModelState, State

_TURN = 1.5  # times its load: a model that is loaded serves for half as long at least
_SINGLED_OUT = 2.0  # times as long as the others


def reckon(state: State) -> None:
    """Of those that are compared with each other, within the bounds of the settings; devices load side by side."""
    settings = state.settings
    models = list(islice(state.unplaced.values(), settings.candidates))
    round_s = _TURN * sum([parking.load_s(state, model) for model in models]) / max(1, len(state.ledger.devices))
    usual_s = _usual_wait_s(state, models)
    fair_s = _SINGLED_OUT * usual_s if usual_s > max(round_s, settings.swap_patience_s[0]) else round_s
    people, normal, batch = settings.swap_patience_s
    state.pressure.patience_s = (
        min(max(fair_s, people), settings.patience_s[0]),
        min(max(fair_s, normal), settings.patience_s[1]),
        min(max(fair_s, batch), settings.patience_s[2]),
    )


def _usual_wait_s(state: State, models: Sequence[ModelState]) -> float:
    """How long the first in line of the middle model has waited, batch work apart; of two, the one who came later."""
    since = [(group.oldest_s(), model.left_s) for model in models for group in model.queue.groups[: Class.BATCH]]
    waits_s = sorted(state.now_s - max(oldest_s, left_s) for oldest_s, left_s in since if oldest_s is not None)
    return waits_s[(len(waits_s) - 1) // 2] if len(waits_s) > 1 else 0.0


def ends_at_s(state: State, model: ModelState) -> float:
    """When the first of those who wait for it loses patience."""
    queue, ends_s = model.queue, math.inf
    for group in queue.groups:
        oldest_s = group.oldest_s()
        if oldest_s is not None:
            ends_s = min(ends_s, max(oldest_s, model.left_s) + state.pressure.patience_s[group.class_])
    for waiting in (*queue.loads.values(), *queue.outgrown.values()):
        ends_s = min(ends_s, waiting.arrived_s + state.pressure.patience_s[waiting.demand.class_])
    aside = model.aside
    if aside is not None:
        ends_s = min(ends_s, aside.parked_at_s + state.settings.aside_patience_s)
    return ends_s
