"""Engines take turns where they would slow each other down: who computes now, and who is paused (check 8).

Two engines with two threads each on two cores were measured thirteen times slower than one alone, so the threads of those
that compute never add up to more than the cores; a GPU's driver shares its time. Batch work is paused while people are
served on its device, whether it fits beside them or not: it takes bandwidth from them. What is paused by hand competes for
nothing: it does not compute while it serves, until it is let go (an engine that serves nobody computes nothing anyway).
Of the others that serve somebody, in this order, each computes that still fits:

1. a class that is owed its guaranteed share goes first, until it has had it. A class is owed part of each second in which it
   wanted to compute and another did, up to one slice per window; time that it gets because nobody else wants it counts;
2. then by class: the highest of whom the engine serves, of who waits for a slot of it, and, if it drains, of who waits for
   its memory; so pausing never makes a person wait for a drain;
3. within a class, who has run least. Who computes keeps its turn for a slice; who comes from idle starts a slice behind
   the least, so its turn is now, but idling saves nothing up (as in Linux' CFS). Of equals, who was paused first. Run times are
   kept by class, and nobody is more than a slice ahead of the least: who computed because it fitted beside a higher class, where
   others of its own did not, would wait for as long afterwards.
"""

from __future__ import annotations

import math

from partage.domain import Class, Device, DeviceId
from partage.policy.actions import PauseEngine, PauseReason, ResumeEngine
from partage.policy.state import Resident, State

_SOONEST_S = 1e-3
_ROUNDING_S = 1e-9


def threads_of(state: State, resident: Resident) -> int:
    """Clamped to the cores: an engine that asks for more gets them all, alone. 0: nobody counts them."""
    hosts = [device for device in _contended(state, resident) if device.kind == "host"]
    return min(resident.placement.settings.threads, max((device.cores for device in hosts), default=0))


def joins(state: State, resident: Resident) -> None:
    """It has something to compute from now on."""
    devices = _contended(state, resident)
    resident.contends_on = tuple(one.id for one in devices if one.kind == "cuda" or resident.threads)
    if resident.model.halted:
        settle(state)
        state.turns.paused.pop(resident.engine, None)  # it was about to be resumed, and stays as it is
        state.turns.halted[resident.engine] = resident
        state.turns.changed = True
    elif resident.contends_on:
        settle(state)
        state.turns.contending[resident.engine] = resident
        resident.turn_class = None


def leaves(state: State, resident: Resident) -> None:
    """It has nothing to compute any more. If it is paused, `take` resumes it: it may have something to tidy up."""
    turns = state.turns
    if resident.engine in turns.contending:
        settle(state)
        del turns.contending[resident.engine]
        turns.changed = True
    elif resident.engine in turns.halted:
        settle(state)
        turns.paused[resident.engine] = turns.halted.pop(resident.engine)
        turns.changed = True


def halt(state: State, resident: Resident) -> None:
    """By hand: if it serves, it stands still from now on, whoever's turn it is."""
    if resident.serving and resident.phase == "ready":  # else it computes nothing anyway, and joins when it is back
        settle(state)
        state.turns.contending.pop(resident.engine, None)
        state.turns.paused.pop(resident.engine, None)
        resident.paused = False  # by a turn; told again with its new reason
        joins(state, resident)


def let_go(state: State, resident: Resident) -> None:
    """It competes with the others again."""
    if resident.engine in state.turns.halted:
        settle(state)
        del state.turns.halted[resident.engine]
        _resume(state, resident)
        state.turns.changed = True
        joins(state, resident)


def paused_s(state: State, resident: Resident) -> float:
    """In all, until now."""
    return resident.paused_s + (state.now_s - state.turns.settled_s if resident.paused else 0.0)


def settle(state: State) -> None:
    """Reckon what happened since the last change: who ran, who was paused, who is owed."""
    turns = state.turns
    passed_s, turns.settled_s = state.now_s - turns.settled_s, state.now_s
    if not passed_s:
        return
    for resident in turns.halted.values():
        resident.paused_s += passed_s if resident.paused else 0.0
    if not turns.paused and not turns.owing:
        for resident in turns.contending.values():
            resident.ran_s[_class(resident)] += passed_s
        return
    got, missed = set[tuple[DeviceId, Class | None]](), set[tuple[DeviceId, Class | None]]()
    for resident in turns.contending.values():
        places = [(device, resident.turn_class) for device in resident.contends_on]
        if resident.paused:
            resident.paused_s += passed_s
            missed.update(places)
        else:
            resident.ran_s[_class(resident)] += passed_s
            got.update(places)
    for key, owed_s in turns.owed_s.items():
        share = state.settings.class_shares[key[1]]
        served = key in got and (key in turns.in_share or key not in missed or not _others(key, got))
        grows = share - 1 if served else share if key in missed else -share  # -: did not want it
        turns.owed_s[key] = min(max(owed_s + grows * passed_s, 0.0), 2 * _slice_due_s(state, key[1]))
        if turns.owed_s[key] <= _ROUNDING_S:
            turns.in_share.discard(key)
    turns.owing = any(turns.owed_s.values())


def take(state: State) -> None:
    """Decide who computes from now on, pause and resume accordingly, and say when to look again."""
    turns = state.turns
    other = [one for one in turns.contending.values() if one.turn_class != class_of(state, one)]
    if not other and not turns.changed and state.now_s < turns.next_s:
        return
    settle(state)
    turns.next_s, turns.changed = math.inf, False
    for resident in turns.halted.values():
        if not resident.paused:
            _pause(state, resident, "hand")
    for resident in other:
        _classify(state, resident)
    if not turns.paused and _all_fit(state):
        return
    for key, owed_s in turns.owed_s.items():
        if owed_s >= _slice_due_s(state, key[1]) - _ROUNDING_S:
            turns.in_share.add(key)
    _level(state)
    order = sorted(turns.contending.values(), key=lambda one: _rank(state, one))
    _choose(state, order)
    for resident in order:
        if not resident.in_turn and not resident.paused:
            turns.paused[resident.engine] = resident
            _pause(state, resident, _reason(state, resident, order))
    for resident in list(turns.paused.values()):  # after the pauses: the cores are free by then
        if resident.in_turn or resident.engine not in turns.contending:
            del turns.paused[resident.engine]
            _resume(state, resident)
    turns.next_s = _next_change_s(state)


def bound_s(state: State) -> float:
    """Nothing is paused for longer, but by hand: two windows for each engine that may compete with it.

    Each rival of its class is at most a slice behind it, and its turn goes on for half a slice: so much of the least share is had
    in two windows. While a share is scarce there is a rival of another class too, whose windows are to spare.
    """
    settings = state.settings
    rivals = sum(bool(_contended(state, resident)) for resident in state.residents.values()) - 1
    windows = math.ceil(1.5 * settings.slice_s / (min(settings.class_shares) * settings.share_window_s))
    return max(2, windows) * settings.share_window_s * max(1, rivals)


def class_of(state: State, resident: Resident) -> Class:
    """Case 2."""
    served = resident.by_class
    if served[Class.INTERACTIVE]:
        return Class.INTERACTIVE
    highest = min(Class.NORMAL if served[Class.NORMAL] else Class.BATCH, resident.model.queue.highest_class())
    if not resident.gated:
        return highest
    return min([highest, *(plan.model.queue.highest_class() for plan in state.plans if resident in plan.victims)])


def _pause(state: State, resident: Resident, reason: PauseReason) -> None:
    resident.paused, resident.paused_at_s = True, state.now_s
    state.out.append(PauseEngine(engine=resident.engine, reason=reason))


def _resume(state: State, resident: Resident) -> None:
    resident.paused, resident.paused_at_s = False, math.inf
    state.out.append(ResumeEngine(engine=resident.engine))


def _classify(state: State, resident: Resident) -> None:
    """Who joins a class is placed among its members by its run time: not far ahead, and not far behind (case 3)."""
    class_ = class_of(state, resident)
    peers = [one.ran_s[class_] for one in _in_turns(state, class_) if one is not resident]
    if peers:
        resident.ran_s[class_] = min(max(resident.ran_s[class_], min(peers) - state.settings.slice_s), max(peers))
    resident.turn_class, resident.in_turn = class_, False
    if 0 < state.settings.class_shares[class_] < 1:
        for device in resident.contends_on:
            state.turns.owed_s.setdefault((device, class_), 0.0)


def _level(state: State) -> None:
    """Case 3, its last sentence."""
    for class_ in Class:
        peers = _in_turns(state, class_)
        most_s = min((one.ran_s[class_] for one in peers), default=0.0) + state.settings.slice_s
        for one in peers:
            one.ran_s[class_] = min(one.ran_s[class_], most_s)


def _in_turns(state: State, class_: Class) -> list[Resident]:
    """Of that class, those with threads: others compute beside them in any case."""
    return [one for one in state.turns.contending.values() if one.turn_class == class_ and one.threads]


def _rank(state: State, resident: Resident) -> tuple[bool, int, float, float]:
    ahead_s = state.settings.slice_s / 2 if resident.in_turn else 0.0
    class_ = _class(resident)
    ran_s = resident.ran_s[class_] - ahead_s
    return not _in_share(state, resident), class_, ran_s, resident.paused_at_s  # cases 1, 2, 3, 3


def _all_fit(state: State) -> bool:
    """The usual case: there is nothing to choose."""
    contending = state.turns.contending.values()
    people = {on for one in contending if one.turn_class == Class.INTERACTIVE for on in one.contends_on}
    disturbed = people and any(
        one.turn_class == Class.BATCH and not people.isdisjoint(one.contends_on) for one in contending
    )
    if disturbed or sum([one.threads for one in contending]) > _cores(state):
        return False
    for resident in contending:
        resident.in_turn = True
    return True


def _choose(state: State, order: list[Resident]) -> None:
    cores = _cores(state)
    with_people: set[str] = set()
    for resident in order:
        disturbs = resident.turn_class == Class.BATCH and not with_people.isdisjoint(resident.contends_on)
        resident.in_turn = resident.threads <= cores and (not disturbs or _in_share(state, resident))
        if resident.in_turn:
            cores -= resident.threads
            if resident.turn_class == Class.INTERACTIVE:
                with_people.update(resident.contends_on)


def _cores(state: State) -> int:
    return max((device.cores for device in state.ledger.devices.values() if device.kind == "host"), default=0)


def _reason(state: State, resident: Resident, order: list[Resident]) -> PauseReason:
    first = next(one for one in order if one.in_turn and not set(resident.contends_on).isdisjoint(one.contends_on))
    if _class(first) < _class(resident):
        return "urgent"
    return "share" if _class(first) > _class(resident) and _in_share(state, first) else "turn"


def _next_change_s(state: State) -> float:
    """When, if nothing happens, a share is due or has been had, or a turn is over."""
    turns, waits_s = state.turns, list[float]()
    for waiting in turns.paused.values():
        class_ = _class(waiting)
        for device in waiting.contends_on:
            owed_s = turns.owed_s.get((device, class_))
            if owed_s is not None:
                waits_s.append((_slice_due_s(state, class_) - owed_s) / state.settings.class_shares[class_])
        for other in turns.contending.values() if waiting.threads else ():
            if other.in_turn and other.turn_class == class_:
                turn_s = waiting.ran_s[class_] + state.settings.slice_s / 2 - other.ran_s[class_]
                waits_s.append(max(turn_s, _SOONEST_S) if turn_s > -_ROUNDING_S else turn_s)  # a tie is over soon
    waits_s += [turns.owed_s[key] / (1 - state.settings.class_shares[key[1]]) for key in turns.in_share]
    ahead_s = [wait_s for wait_s in waits_s if wait_s > _ROUNDING_S]
    return state.now_s + max(_SOONEST_S, min(ahead_s)) if ahead_s else math.inf


def _slice_due_s(state: State, class_: Class) -> float:
    """What a class is owed after a window without its share: it is had in one slice, at the window's end (case 1)."""
    share = state.settings.class_shares[class_]
    return state.settings.share_window_s * share * (1 - share)


def _others(key: tuple[DeviceId, Class], got: set[tuple[DeviceId, Class | None]]) -> bool:
    """Whether another class computes there: what fits beside it is not what the class is owed, where others of it wait."""
    return any(device == key[0] and class_ != key[1] for device, class_ in got)


def _in_share(state: State, resident: Resident) -> bool:
    in_share = state.turns.in_share
    return bool(in_share) and any((device, resident.turn_class) in in_share for device in resident.contends_on)


def _class(resident: Resident) -> Class:
    assert resident.turn_class is not None, "it contends, so it was classified"
    return resident.turn_class


def _contended(state: State, resident: Resident) -> list[Device]:
    devices = [state.ledger.devices[device] for device in resident.bytes_ if device in state.ledger.devices]
    return [device for device in devices if device.contended]
