"""An engine parked in mid-answer: who had far more than others makes room at once, and goes on later where he was (check 3).

A busy victim drains before it leaves, and what a flood has begun takes long. Where the device can (parking.py), it need not:

1. only where all that the engine serves is of clients who flood, and somebody waits who does not;
2. only once it has computed for as long as it is copied, there and back: every stay gets more done than it costs;
3. the model then waits for memory as if its clients had asked when they fell silent, and is next after `aside_patience_s`: it
   comes back without being asked for;
4. what could not be given room for `max_aside_s` is ended, as is an engine whose model is deleted; nothing else ends it.

Its clients see silence, not an error. Those that leave meanwhile are forgotten; when the last has left, it is any parked engine.
"""

from __future__ import annotations

import math

from partage.policy import parking, turns
from partage.policy.state import Resident, State


def may_be_set_aside(state: State, resident: Resident) -> bool:
    """Cases 1 and 2, as far as they do not depend on who waits."""
    return (
        state.settings.park_budget_bytes > 0
        and bool(resident.serving)
        and all(state.accounts.floods(waiting.account) for waiting in resident.serving.values())
        and state.now_s - max(resident.ready_s, resident.parked_at_s) >= 2 * parking.copy_s(state, resident)
        and parking.may_park(state, resident)
        and parking.pays(state, resident)
        and sum(resident.bytes_.values()) <= parking.free_bytes(state)
    )


def try_set_aside(state: State, resident: Resident) -> None:
    """Where it cannot be, it drains."""
    if may_be_set_aside(state, resident) and parking.try_park(state, resident):
        turns.leaves(state, resident)


def end_silences(state: State) -> None:
    """What nobody has seen yet of its answers begins anew elsewhere; the other clients are told."""
    if next_end_s(state) <= state.now_s:
        for resident in [one for one in state.parked.values() if _ends_at_s(state, one) <= state.now_s]:
            state.stop(
                resident, f"it was set aside for others, who left it no room for {state.settings.max_aside_s:g} s"
            )


def next_end_s(state: State) -> float:
    return min([_ends_at_s(state, resident) for resident in state.parked.values()]) if state.parked else math.inf


def _ends_at_s(state: State, resident: Resident) -> float:
    """What is paused by hand is silent for as long as it is asked to be."""
    if resident.phase != "parked" or not resident.serving or resident.model.halted:
        return math.inf
    return resident.parked_at_s + state.settings.max_aside_s


def stays(state: State, resident: Resident) -> None:
    """It could not be parked, and goes on: as a victim, if it still is one. It is tried again as if it had come back."""
    resident.phase = "ready"
    count_silence(state, resident)
    resident.gated = any(resident in plan.victims for plan in state.plans)
    turns.joins(state, resident)
    state.place(resident.model)


def returned(state: State, resident: Resident) -> None:
    """It computes again."""
    if resident.serving:
        count_silence(state, resident)
        turns.joins(state, resident)


def count_silence(state: State, resident: Resident) -> None:
    """As a pause: its answers are not taken to be long for it. What follows is bounded anew."""
    resident.paused_s += state.now_s - resident.parked_at_s
    resident.parked_at_s = state.now_s
