"""What happens to engines: ready, failed, gone, unused, unwanted, pinned (checks 4 and 7)."""

from __future__ import annotations

import heapq

from partage.domain import Class, DeviceId
from partage.policy import aside, events, parking, turns
from partage.policy.room import start_if_free
from partage.policy.serving import LEAST_WORK_S
from partage.policy.state import ModelState, Resident, State
from partage.policy.suitable import suitable_placements
from partage.policy.waiting import Waiting

_LONGEST_BACKOFF_S = 60.0
_TOO_LARGE_S = 120.0
_WORTH = 20.0  # times its load: what a stay is worth of it, where so many wait


def ready(state: State, event: events.EngineReady) -> Resident | None:
    resident = state.residents.get(event.engine)
    if resident is None or resident.phase != "starting":
        return None
    _no_longer_loading(state, resident)
    _weighed(state, resident, event.measured_bytes)
    resident.phase = "ready"
    resident.ready_s = resident.last_used_s = state.now_s
    model = resident.model
    for waiting in _outgrowing(model, resident):
        _put_again(model, waiting, resident.context_tokens)
    resident.owed = _head_group(state, resident)
    resident.fresh = resident.slots
    state.place(model)
    state.schedule_expiry(resident)
    return resident


def _head_group(state: State, resident: Resident) -> int:
    """Those that called it, as far as it can serve them in so long that its load is a small part of that.

    Batch work and who floods do not keep it, but for one: a load never serves nobody. A server that goes round queues keeps
    up with all that it has the capacity for if at each it serves those who waited when it came (gated service, in the
    theory of polling systems); with a fixed number of them it does not, and the more waits, the more of its time is lost.
    """
    queue, settings = resident.model.queue, state.settings
    if not queue.ready_count:
        return 0
    work_s = queue.work_s(Class.BATCH) / queue.ready_count
    abreast = resident.slots / settings.slowdown(resident.slots)
    worth = int(_WORTH * resident.model.profile.load_s * abreast / max(work_s, LEAST_WORK_S))
    most = max(settings.head_group, resident.slots, worth)
    called = 0
    for group in queue.groups[: Class.BATCH]:
        for line in group.lines.values():
            if called >= most:
                return most
            if not state.accounts.floods(line.account):
                called += line.timely_count + line.late_count
    return min(max(1, called), most)


def measured(state: State, event: events.EngineMeasured) -> None:
    """Engines only grow; the holder of a lease may give back what it had beyond it."""
    resident = state.residents.get(event.engine)
    if resident is not None:
        _weighed(state, resident, event.measured_bytes)


def _weighed(state: State, resident: Resident, measured_bytes: tuple[tuple[DeviceId, int], ...]) -> None:
    for device, size in measured_bytes:
        state.ledger.hold(((device, size - resident.bytes_.get(device, 0)),))
        resident.bytes_[device] = size


def failed(state: State, event: events.EngineFailed) -> None:
    resident = _forget(state, event.engine)
    if resident is None:
        return
    model = resident.model
    smaller = any(one.total_bytes < resident.placement.total_bytes for one in suitable_placements(model))
    if event.out_of_memory and smaller:
        # Learned: the next smaller one is tried at once.
        model.too_large_bytes, model.too_large_at_s = resident.placement.total_bytes, state.now_s
        refuse_outgrown(state, model)
    else:
        count_failure(state, model, event.reason)


def refuse_outgrown(state: State, model: ModelState) -> None:
    """The placements became fewer: those that need a longer context than any has left would wait in vain."""
    longest = max((one.settings.context_tokens for one in suitable_placements(model)), default=0)
    if max(model.queue.contexts, default=0) <= longest and longest:
        return
    for waiting in model.queue.waiting():
        if waiting.demand.context_tokens > longest or not longest:
            message = f"model '{model.name}' fits this machine with a context of {longest} tokens at most"
            state.refuse(waiting.demand, "cannot_fit", message)


def parked(state: State, event: events.EngineParked) -> None:
    resident = parking.parked(state, event)
    if resident is not None:
        leave_if_idle(state, resident)


def unparked(state: State, event: events.EngineUnparked) -> Resident | None:
    parking.unparked(state, event)
    resident = ready(state, events.EngineReady(engine=event.engine, load_s=event.unpark_s))
    if resident is not None:
        aside.returned(state, resident)
    return resident


def not_parked(state: State, event: events.EngineParkFailed) -> Resident | None:
    resident = parking.failed(state, event)
    if resident is not None and resident.serving:
        aside.stays(state, resident)
    return resident


def gone(state: State, event: events.EngineGone) -> None:
    parked = state.parked.pop(event.engine, None)
    if parked is not None:
        parking.forget(state, parked)
        state.place(parked.model)
        return
    resident = _forget(state, event.engine)
    if resident is None:
        return
    if state.now_s - resident.model.too_large_at_s >= _TOO_LARGE_S:
        # Who took the memory then may have gone: the next load tries the best again.
        resident.model.too_large_bytes = None
    if event.crashed:
        count_failure(state, resident.model, "the model server crashed again and again")


def count_failure(state: State, model: ModelState, reason: str) -> None:
    """Wait longer each time; after the last attempt those waiting are told, and the next to come tries once more."""
    settings = state.settings
    model.failures += 1
    backoff_s = min(_LONGEST_BACKOFF_S, settings.start_backoff_s * 4 ** (model.failures - 1))
    model.not_before_s = state.now_s + backoff_s
    if model.failures >= settings.start_attempts:
        model.failures = settings.start_attempts - 1
        for waiting in model.queue.waiting():
            message = f"model '{model.name}' could not be started: {reason}"
            state.refuse(waiting.demand, "start_failed", message, retry_after_s=backoff_s)
    if not model.forgotten:
        heapq.heappush(state.retry, (model.not_before_s, model.name))


def leave(state: State, model: ModelState | None) -> None:
    """Somebody asked that it goes: as soon as nobody is served by it or waits for it."""
    if model is None:
        return
    model.unloaded = True
    if model.parked is not None:
        model.parked.leaving = True
        leave_if_idle(state, model.parked)
    if model.resident is not None:
        model.resident.leaving = True
        leave_if_idle(state, model.resident)


def leave_if_idle(state: State, resident: Resident) -> None:
    """Or never to be brought back: parked in mid-answer, of a model that was deleted."""
    idle = not resident.serving and not resident.model.queue.count
    stranded = resident.phase == "parked" and resident.model.forgotten
    if resident.leaving and (stranded or (idle and resident.phase in {"ready", "parked"})):
        state.stop(resident, "its model was deleted" if resident.model.forgotten else "it was asked to leave")


def expire(state: State) -> None:
    """Stop what nobody used for its keep-alive."""
    while state.expiry and state.expiry[0][0] <= state.now_s:
        _, engine = heapq.heappop(state.expiry)
        resident = state.residents.get(engine) or state.parked.get(engine)
        if resident is None:
            continue
        resident.in_expiry = False
        expires_s = state.expires_at_s(resident)
        if expires_s is None:
            continue
        if resident.model.queue.count:
            continue  # in use: scheduled again when the last of them was served or has left
        if expires_s <= state.now_s:
            state.stop(resident, "nobody used it for its keep-alive")
        state.schedule_expiry(resident)


def load_pinned(state: State) -> None:
    """Pinned models come without being asked for, where memory is free."""
    for model in state.pinned.values():
        if model.resident is None and not (model.unloaded or model.halted) and suitable_placements(model):
            start_if_free(state, model)


def _forget(state: State, engine: str) -> Resident | None:
    resident = state.residents.pop(engine, None)
    if resident is None:
        return None
    if resident.phase == "starting":
        _no_longer_loading(state, resident)
    resident.phase = "stopping"  # a plan may count on its leaving still
    turns.leaves(state, resident)
    state.turns.paused.pop(engine, None)
    state.ledger.release(resident.bytes_.items())
    parking.forget(state, resident)
    model = resident.model
    if model.resident is resident:
        model.resident, model.left_s = None, state.now_s
        for waiting in list(model.queue.outgrown.values()):
            _put_again(model, waiting, None)
        state.place(model)
    return resident


def _no_longer_loading(state: State, resident: Resident) -> None:
    for device, _ in resident.placement.shares:
        state.loading[device] -= 1


def _outgrowing(model: ModelState, resident: Resident) -> list[Waiting]:
    """Those that wait in line but need more than this engine has, and those set aside that it can serve."""
    if max(model.queue.contexts, default=0) <= resident.context_tokens and not model.queue.outgrown:
        return []
    return model.queue.waiting()


def _put_again(model: ModelState, waiting: Waiting, context_tokens: int | None) -> None:
    model.queue.remove(waiting)
    model.queue.add(waiting, engine_context_tokens=context_tokens)
