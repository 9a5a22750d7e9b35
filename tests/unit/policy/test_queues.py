from __future__ import annotations

from partage.domain import Class
from partage.policy.accounts import Account
from partage.policy.events import Demand
from partage.policy.queues import Group, ModelQueue, Waiting


def queue() -> ModelQueue:
    return ModelQueue((Group("a", Class.INTERACTIVE, 300), Group("a", Class.NORMAL, 300), Group("a", Class.BATCH, 300)))


def waiting(name: str, *, context_tokens: int = 0, due_s: float = 10.0) -> Waiting:
    demand = Demand(id=name, model="a", client=name, class_=Class.NORMAL, context_tokens=context_tokens)
    return Waiting(demand, Account(name), arrived_s=0.0, sequence=len(name), due_s=due_s, work_s=1.0)


def test_who_waits_for_a_longer_context_is_no_longer_in_line() -> None:
    waits, long, short = queue(), waiting("long", context_tokens=8192), waiting("short")
    for one in (long, short):
        waits.add(one, engine_context_tokens=None)
    waits.remove(long)
    waits.add(long, engine_context_tokens=4096)
    assert waits.groups[Class.NORMAL].next(20.0, 0.0) is short
    assert waits.groups[Class.NORMAL].waiting() == [short]
    assert (waits.ready_count, waits.count) == (1, 2)
