"""Who should leave: what each resident's leaving costs, and the cheapest set that frees enough.

The cost is in weighted seconds of waiting, so that it compares with what those who want the memory suffer:

    load time x (chance of being asked for again soon x value of those who ask + value of those who wait) + drain

which is GreedyDual-Size-Frequency (FaasCache, ASPLOS'21) with the chance of reuse in place of frequency; size enters through
the choice of the set, never one victim at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

from partage.domain import Class, DeviceId
from partage.policy import aside, parking, turns
from partage.policy.group import Group
from partage.policy.state import Resident, State

_PREFERRED = 1000.0
_ENUMERATED = 6
_SAMPLED = 8
_GOES_ON = 0.5  # an answer longer than expected: times what it took so far, as lengths are heavy-tailed


class Victim(NamedTuple):
    """A tuple, for one is made of each resident whenever somebody looks for room."""

    resident: Resident
    cost_s: float
    """By which victims are compared: with the drain as it is likely to be."""
    price_s: float
    """What the suffering must outweigh: with the drain as it was expected, for a long answer is no reason to wait."""
    drain_s: float
    remains_s: float
    busy: bool
    """Serves, or has somebody waiting whom it could serve."""
    class_: Class
    """The highest of those."""
    claim: float
    """Mean entitlement of those it serves and of those it could serve: what a flood holds is hardly held."""


class Pools:
    """All that may leave, and the idle ones of them. Several models may need the same memory: it is looked for once."""

    def __init__(self, found: list[Victim]) -> None:
        self.found = found
        idle = [victim for victim in found if not victim.busy]
        self._pools = [pool for pool in (idle, found if len(found) > len(idle) else []) if pool]
        self._known: dict[tuple[tuple[DeviceId, int], ...], list[list[Victim]]] = {}

    def cheapest_sets(self, short: dict[DeviceId, int]) -> list[list[Victim]]:
        """Of the idle ones, and of all; without those that do not free enough."""
        need = tuple(short.items())
        sets = self._known.get(need)
        if sets is None:
            sets = self._known[need] = [one for pool in self._pools if (one := cheapest_set(short, pool)) is not None]
        return sets

    def without(self, resident: Resident) -> Pools:
        return Pools([victim for victim in self.found if victim.resident is not resident])


def victims(state: State) -> Pools:
    """The cheapest first: ready, not pinned, and not still owing its head group."""
    found = [_weighed(state, resident) for resident in state.residents.values() if may_leave(state, resident)]
    found.sort(key=attrgetter("cost_s"))
    return Pools(found)


def may_leave(state: State, resident: Resident) -> bool:
    """The holder of a lease never: what it has done cannot be done again for it."""
    return may_be_replaced(resident) and resident.model.lease is None and not state.is_pinned(resident)


def may_be_replaced(resident: Resident) -> bool:
    """By a larger engine of its own model: a pin says that the model stays, not that its context does."""
    owing = resident.owed and resident.model.queue.ready_count
    return resident.phase == "ready" and not resident.gated and not owing and not resident.stands_still


def replaced(state: State, resident: Resident) -> Victim:
    """What it costs to exchange the engine for a larger one of its model."""
    return _weighed(state, resident)


def _weighed(state: State, resident: Resident) -> Victim:
    model, settings, serving, now_s = resident.model, state.settings, resident.serving, state.now_s
    again = model.reuse.probability(now_s, settings.reuse_horizon_s) * model.reuse.value
    if not serving and not model.queue.ready_count:
        lost_s = _lost_s(state, resident, again)
        return Victim(resident, lost_s, lost_s, 0.0, 0.0, busy=False, class_=Class.BATCH, claim=0.0)
    entitlement = state.accounts.entitlement
    served = sum([entitlement(waiting.account) for waiting in serving.values()])
    backlog, claims, count, highest = 0.0, served, len(serving), Class.BATCH
    for group in reversed(model.queue.groups):
        class_ = group.class_
        if group.count:
            entitled = group_entitlement(state, group)[0] * group.count
            backlog += settings.class_values[class_] * entitled
            claims += entitled
            count += group.count
            highest = class_
        elif resident.by_class[class_]:
            highest = class_
    lost_s = _lost_s(state, resident, again + backlog)
    served_part = served / max(1, len(serving))
    if aside.may_be_set_aside(state, resident):
        lost_s += parking.return_s(state, resident) * served  # they will wait for it
        drain_s = remains_s = parking.copy_s(state, resident)
    else:
        drain_s, over_s = _drain_s(state, resident)
        remains_s = drain_s or _GOES_ON * over_s
    return Victim(
        resident,
        cost_s=lost_s + remains_s * served_part,
        price_s=lost_s + drain_s * served_part,
        drain_s=drain_s,
        remains_s=remains_s,
        busy=bool(serving) or bool(backlog),
        class_=highest,
        claim=claims / max(1, count),
    )


def _lost_s(state: State, resident: Resident, missed: float) -> float:
    """What it takes to have it back, by how much it will be missed; a pin that was not granted is still a wish."""
    wished_s = _PREFERRED if resident.keep_alive_s is not None and resident.keep_alive_s < 0 else 0.0
    return parking.return_s(state, resident) * missed + wished_s


def group_entitlement(state: State, group: Group) -> tuple[float, float]:
    """Mean over its requests, and the most of a client; of a sample where there are many clients."""
    entitlement = state.accounts.entitlement
    count, entitled, most = 0, 0.0, 0.0
    for line in islice(group.lines.values(), _SAMPLED):
        waiting = line.timely_count + line.late_count
        one = entitlement(line.account)
        count += waiting
        entitled += waiting * one
        most = max(most, one)
    return entitled / count, most


def remaining_s(state: State, resident: Resident, since_s: float = math.inf) -> float:
    """Until what is being served should be done; `since_s`: of what was served before that.

    Lengths of answers are heavy-tailed: one that is longer than expected goes on for about half as long again.
    """
    drain_s, over_s = _drain_s(state, resident, since_s)
    return max(drain_s, _GOES_ON * over_s)


def _drain_s(state: State, resident: Resident, since_s: float = math.inf) -> tuple[float, float]:
    """Until all is done that should take longer than it did; and how long the longest has taken of what should be done."""
    slowdown = state.settings.slowdown(len(resident.serving))
    now_s, paused_s = state.now_s, turns.paused_s(state, resident)
    drain_s = over_s = 0.0
    for one in resident.serving.values():
        if one.served_at_s <= since_s:
            so_far_s = now_s - one.served_at_s - (paused_s - one.paused_before_s)
            left_s = one.work_s * slowdown - so_far_s
            if left_s > 0:
                drain_s = max(drain_s, left_s)
            else:
                over_s = max(over_s, so_far_s)
    return drain_s, over_s


def cheapest_set(short: dict[DeviceId, int], among: Sequence[Victim]) -> list[Victim] | None:
    """The least total cost that frees what is missing on every device; None where all together do not."""
    useful = [victim for victim in among if not short.keys().isdisjoint(victim.resident.bytes_)]
    for device, size in short.items():
        if sum([victim.resident.bytes_.get(device, 0) for victim in useful]) < size:
            return None
    if len(useful) > _ENUMERATED:
        return _greedy(short, useful)
    search = _Search(useful)
    search.from_(0, dict(short), 0.0, [])
    return search.best


class _Search:
    """Depth first over the victims in order of cost; a branch that costs more than the best found is cut."""

    def __init__(self, among: Sequence[Victim]) -> None:
        self.among = among
        self.best: list[Victim] | None = None
        self.best_cost_s = float("inf")

    def from_(self, start: int, short: dict[DeviceId, int], cost_s: float, chosen: list[Victim]) -> None:
        if all(size <= 0 for size in short.values()):
            self.best, self.best_cost_s = list(chosen), cost_s
            return
        for index in range(start, len(self.among)):
            victim = self.among[index]
            if cost_s + victim.cost_s >= self.best_cost_s:
                return
            held = victim.resident.bytes_
            chosen.append(victim)
            left = {device: size - held.get(device, 0) for device, size in short.items()}
            self.from_(index + 1, left, cost_s + victim.cost_s, chosen)
            chosen.pop()


def _greedy(short: dict[DeviceId, int], among: Sequence[Victim]) -> list[Victim]:
    """Many small residents: the cheapest per byte until it is enough, then those are let go that turn out unneeded."""

    def per_byte(victim: Victim) -> float:
        freed = 0
        for device, size in short.items():
            held = victim.resident.bytes_.get(device, 0)
            freed += held if held < size else size
        return victim.cost_s / (freed or 1)

    left = dict(short)
    chosen: list[Victim] = []
    for victim in sorted(among, key=per_byte):
        if max(left.values()) <= 0:
            break
        chosen.append(victim)
        for device in left:
            left[device] -= victim.resident.bytes_.get(device, 0)
    for victim in sorted(chosen, key=lambda one: -one.cost_s):
        held = victim.resident.bytes_
        if all(size + held.get(device, 0) <= 0 for device, size in left.items()):
            chosen.remove(victim)
            for device in left:
                left[device] += held.get(device, 0)
    return chosen
