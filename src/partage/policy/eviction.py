"""Who should leave: what each resident's leaving costs, and the cheapest set that frees enough.

The cost is in weighted seconds of waiting, so that it compares with what those who want the memory suffer:

    load time x (chance of being asked for again soon x value of those who ask + value of those who wait) + drain

which is GreedyDual-Size-Frequency (FaasCache, ASPLOS'21) with the chance of reuse in place of frequency; size enters through
the choice of the set, never one victim at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from partage.domain import Class, DeviceId
from partage.policy.queues import Group
from partage.policy.state import Resident, State

_PREFERRED = 1000.0
_ENUMERATED = 6
_SAMPLED = 8


@dataclass(frozen=True, slots=True)
class Victim:
    resident: Resident
    cost_s: float
    drain_s: float
    busy: bool
    """Serves, or has somebody waiting whom it could serve."""
    class_: Class
    """The highest of those."""
    entitled: float
    """Of the client among them that received least of late."""


def victims(state: State) -> list[Victim]:
    """All that may leave, the cheapest first: ready, not pinned, and not still owing its head group."""
    found = [_weighed(state, resident) for resident in state.residents.values() if may_leave(state, resident)]
    found.sort(key=lambda victim: victim.cost_s)
    return found


def may_leave(state: State, resident: Resident) -> bool:
    if resident.phase != "ready" or resident.gated:
        return False
    if resident.owed and resident.model.queue.ready_count:
        return False
    return not state.is_pinned(resident)


def _weighed(state: State, resident: Resident) -> Victim:
    model, settings = resident.model, state.settings
    drain_s = remaining_s(state, resident)
    backlog = entitled = 0.0
    for value, group in zip(settings.class_values, model.queue.groups, strict=True):
        if group.count:
            entitled_here = group_entitlement(state, group)
            backlog += value * group.count * entitled_here
            entitled = max(entitled, entitled_here)
    for waiting in resident.serving.values():
        entitled = max(entitled, state.accounts.entitlement(waiting.account, state.now_s))
    again = model.reuse.probability(state.now_s, settings.reuse_horizon_s) * model.reuse.value
    cost_s = model.profile.load_s * (again + backlog) + drain_s
    if resident.keep_alive_s is not None and resident.keep_alive_s < 0:
        cost_s += _PREFERRED  # a pin that was not granted is still a wish
    return Victim(resident, cost_s, drain_s, resident.busy or bool(backlog), _highest_class(resident), entitled)


def group_entitlement(state: State, group: Group) -> float:
    """Mean over its requests; of a sample where there are many clients."""
    lines = list(islice(group.lines.values(), _SAMPLED))
    count = sum(line.timely_count + line.late_count for line in lines)
    now_s, accounts = state.now_s, state.accounts
    return (
        sum((line.timely_count + line.late_count) * accounts.entitlement(line.account, now_s) for line in lines) / count
    )


def _highest_class(resident: Resident) -> Class:
    groups = resident.model.queue.groups
    return next((class_ for class_ in Class if resident.by_class[class_] or groups[class_].count), Class.BATCH)


def remaining_s(state: State, resident: Resident) -> float:
    """Until what is being served should be done."""
    if not resident.serving:
        return 0.0
    slowdown = 1 + state.settings.batch_slowdown * (len(resident.serving) - 1)
    ends_s = max(waiting.served_at_s + waiting.work_s * slowdown for waiting in resident.serving.values())
    return max(0.0, ends_s - state.now_s)


def cheapest_set(short: dict[DeviceId, int], among: Sequence[Victim]) -> list[Victim] | None:
    """The least total cost that frees what is missing on every device; None where all together do not."""
    useful = [victim for victim in among if any(device in short for device in victim.resident.bytes_)]
    for device, size in short.items():
        if sum(victim.resident.bytes_.get(device, 0) for victim in useful) < size:
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

    def freed(victim: Victim) -> int:
        return sum(min(victim.resident.bytes_.get(device, 0), size) for device, size in short.items())

    left = dict(short)
    chosen: list[Victim] = []
    for victim in sorted(among, key=lambda one: one.cost_s / max(1, freed(one))):
        if all(size <= 0 for size in left.values()):
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
