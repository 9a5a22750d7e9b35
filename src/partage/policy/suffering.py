"""What those who wait for a model suffer, and how long a busy model may stay in spite of it (check 3).

Sources: ski rental with a residency quantum and load-aware quotas (Aegaeon, SOSP'25); request groups (QLM, SoCC'24).
"""

from __future__ import annotations

from typing import NamedTuple

from partage.domain import Class
from partage.policy import parking, patience
from partage.policy.eviction import group_entitlement
from partage.policy.state import ModelState, State


class Suffering(NamedTuple):
    """What those who wait for a model weigh, now and as it grows."""

    value_s: float
    """Sum of value x seconds waited."""
    growth: float
    """Sum of values: how much it grows per second."""
    patience_at_s: float
    """When the first of its groups loses patience."""
    class_: Class
    """The highest of those who wait."""
    entitled: float
    """Of the client among them that received least of late."""


def suffering_of(state: State, model: ModelState) -> Suffering:
    settings, queue, now_s = state.settings, model.queue, state.now_s
    value_s = growth = 0.0
    highest, most_entitled = Class.BATCH, 0.0
    # cannot be in time if they are not after the load
    lead_s = parking.load_s(state, model) if model.resident is None else 0.0
    for group in queue.groups:
        if not group.count:
            continue
        group.grow_old(now_s + lead_s)
        highest = min(highest, group.class_)
        entitled, most = group_entitlement(state, group)
        most_entitled = max(most_entitled, most)
        value = settings.class_values[group.class_] * entitled
        late_value = value * settings.late_value
        value_s += value * (group.timely_count * now_s - group.timely_arrived_s)
        value_s += late_value * (group.late_count * now_s - group.late_arrived_s)
        growth += value * group.timely_count + late_value * group.late_count
    for waiting in (*queue.loads.values(), *queue.outgrown.values()):
        class_ = waiting.demand.class_
        highest, most_entitled = min(highest, class_), 1.0
        value_s += settings.class_values[class_] * (now_s - waiting.arrived_s)
        growth += settings.class_values[class_]
    aside = model.aside
    if aside is not None:  # its clients wait in mid-answer
        for waiting in aside.serving.values():
            highest = min(highest, waiting.demand.class_)
            entitled = state.accounts.entitlement(waiting.account)
            most_entitled = max(most_entitled, entitled)
            value = settings.class_values[waiting.demand.class_] * entitled
            value_s += value * (now_s - aside.parked_at_s)
            growth += value
    return Suffering(value_s, growth, patience.ends_at_s(state, model), highest, most_entitled)


def quantum_s(state: State, switch_s: float) -> float:
    """How long a busy model stays, so that loading takes no more than the allowed part of the time.

    The more of the recent time went into loading, the smaller that part: from exchanging eagerly to serving exhaustively.
    """
    least, most = state.settings.load_part
    pressed = min(1.0, state.pressure.part(state.now_s) / state.settings.load_pressure)
    part = most - (most - least) * pressed
    return switch_s * (1 - part) / part
