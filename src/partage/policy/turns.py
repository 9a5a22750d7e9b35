"""Host engines take turns at the cores: their threads never add up to more than there are.

Two engines with two threads each on two cores were measured thirteen times slower than one alone. An engine that serves
nobody uses no threads. One that wants to start serving and finds too few free waits in line; when its turn is overdue, those
that compute take nothing new until they have drained, and then wait in line themselves.
"""

from __future__ import annotations

from partage.policy.state import Resident, State


def threads_of(state: State, resident: Resident) -> int:
    """Clamped to the cores: an engine that asks for more gets them all, alone."""
    hosts = [state.ledger.devices[device] for device in resident.bytes_ if device in state.ledger.devices]
    cores = max((device.cores for device in hosts if device.kind == "host"), default=0)
    return min(resident.placement.settings.threads, cores)


def may_compute(state: State, resident: Resident) -> bool:
    """Whether it may serve now; if not, it is in line from now on."""
    if resident.serving or not resident.threads:
        return True
    first = next(iter(state.thirsty), resident.engine)
    if first == resident.engine and resident.threads <= _cores(state) - state.threads_used:
        state.thirsty.pop(resident.engine, None)
        return True
    state.thirsty.setdefault(resident.engine, (resident, state.now_s))
    return False


def starts_computing(state: State, resident: Resident) -> None:
    state.threads_used += resident.threads


def stops_computing(state: State, resident: Resident) -> None:
    state.threads_used -= resident.threads
    resident.resting = False


def first_in_line(state: State) -> Resident | None:
    """Whose turn it is, once the threads are there; those that need none any more are taken out."""
    while state.thirsty:
        resident, _ = next(iter(state.thirsty.values()))
        if resident.phase == "ready" and resident.model.queue.ready_count and not resident.gated:
            return resident
        del state.thirsty[resident.engine]
    return None


def overdue_at_s(state: State) -> float | None:
    """When those that compute must make way for the first in line."""
    resident = first_in_line(state)
    if resident is None:
        return None
    class_ = next(group.class_ for group in resident.model.queue.groups if group.count)
    return state.thirsty[resident.engine][1] + state.settings.thread_turn_s[class_]


def make_way(state: State) -> None:
    """Gate enough of those that compute, the one that has computed longest first."""
    waiting = first_in_line(state)
    if waiting is None:
        return
    needed = waiting.threads - (_cores(state) - state.threads_used)
    computing = [one for one in state.residents.values() if one.serving and one.threads]
    needed -= sum(one.threads for one in computing if one.resting)
    for resident in sorted(computing, key=lambda one: min(held.served_at_s for held in one.serving.values())):
        if needed <= 0:
            return
        if not resident.resting:
            resident.resting = state.somebody_rests = True
            needed -= resident.threads


def nobody_waits(state: State) -> list[Resident]:
    """Those that rest although nobody waits for their threads any more; they go on."""
    if not state.somebody_rests or first_in_line(state) is not None:
        return []
    state.somebody_rests = False
    resting = [one for one in state.residents.values() if one.resting]
    for resident in resting:
        resident.resting = False
    return resting


def _cores(state: State) -> int:
    return max((device.cores for device in state.ledger.devices.values() if device.kind == "host"), default=0)
